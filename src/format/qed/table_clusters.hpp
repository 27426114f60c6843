// SPDX-License-Identifier: Apache-2.0
/// Which host clusters of a QED image hold its tables.
#pragma once

#include "format/qed/header.hpp"

#include <functional>
#include <set>

namespace penstock::qed {

/// Guarded by the driver's metadata lock. Memory: one node for each L2 table.
class TableClusters {
 public:
  explicit TableClusters(std::uint64_t table_bytes) : table_bytes_(table_bytes) {}

  /// False when the table overlaps one that is known already.
  bool insert(HostOffset table);
  [[nodiscard]] bool contains(HostOffset table) const { return tables_.contains(table.value); }
  /// Whether two L1 entries name this table: it is read but not changed.
  [[nodiscard]] bool is_ambiguous(HostOffset table) const { return ambiguous_.contains(table.value); }
  [[nodiscard]] bool overlaps(HostRange range) const;

 private:
  std::uint64_t table_bytes_;
  std::set<std::uint64_t> tables_;
  std::set<std::uint64_t> ambiguous_;
};

/// Calls `visit(index, entry)` for each entry of the table at `offset` that is not 0, reading around holes of the file;
/// memory is bounded. Stops at the first failure.
[[nodiscard]] Result<> visit_table(Storage& storage, const Header& header, HostOffset offset,
                                   const std::function<Result<>(std::uint64_t index, std::uint64_t entry)>& visit);

}  // namespace penstock::qed
