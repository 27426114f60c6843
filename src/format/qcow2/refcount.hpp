// SPDX-License-Identifier: Apache-2.0
/// The reference counts of an image in use. Source: penstock-formats(5), "qcow2: refcounts".
#pragma once

#include "format/qcow2/header.hpp"
#include "format/table_cache.hpp"

#include <set>

namespace penstock::qcow2 {

/// Refcount table in memory, blocks in a bounded cache. Clusters are numbers: host offset / cluster size.
/// Threads: one at a time (the driver's exclusive metadata lock).
/// Errors: EUCLEAN for a table entry or block that breaks the format.
class Refcounts {
 public:
  Refcounts(Storage& storage, const Header& header, std::uint64_t cache_bytes);

  /// Reads the refcount table. `file_end`: no block may start at or behind it.
  [[nodiscard]] Result<> load(std::uint64_t file_end);

  /// Clusters that the table has entries for; none behind it has a count.
  [[nodiscard]] std::uint64_t clusters_covered() const { return entries_.size() * clusters_per_block_; }
  [[nodiscard]] std::uint64_t clusters_per_block() const { return clusters_per_block_; }
  [[nodiscard]] std::uint64_t table_entries() const { return entries_.size(); }
  [[nodiscard]] std::span<const std::uint64_t> entries() const { return entries_; }

  /// Whether the block that counts `cluster` exists; false behind the table.
  [[nodiscard]] bool has_block(std::uint64_t cluster) const;
  /// 0 where there is no block.
  [[nodiscard]] Result<std::uint64_t> get(std::uint64_t cluster);
  /// The block must exist and `value` fit the width.
  [[nodiscard]] Result<> set(std::uint64_t cluster, std::uint64_t value);
  /// A new block of zeroes at `block_cluster` for the counts around `cluster`, inside the table. Its entry is written
  /// by write_entries(), after the block itself is durable.
  void add_block(std::uint64_t cluster, std::uint64_t block_cluster);
  /// Undoes add_block() before anything of it was written.
  void remove_block(std::uint64_t cluster);

  /// Writes changed blocks; a barrier must follow before write_entries() or anything that relies on the counts.
  [[nodiscard]] Result<> write_blocks() { return blocks_.write_dirty(); }
  [[nodiscard]] bool blocks_changed() const { return blocks_.dirty_bytes() != 0; }
  [[nodiscard]] std::uint64_t changed_bytes() const { return blocks_.dirty_bytes(); }
  /// Table entries of new blocks that are not on disk yet; the caller writes them after a barrier, or puts them back.
  [[nodiscard]] std::vector<std::uint64_t> take_changed_entries();
  void put_back_entries(const std::vector<std::uint64_t>& indexes);
  [[nodiscard]] Result<> write_entries(const std::vector<std::uint64_t>& indexes);

  /// More table entries in memory; the caller moves the table.
  void extend(std::uint64_t entries) { entries_.resize(entries); }
  void shrink_back(std::uint64_t entries) { entries_.resize(entries); }
  /// The whole table as stored, filled up to whole clusters.
  [[nodiscard]] std::vector<std::byte> encode_table() const;
  /// The table now lies at `offset`, all its entries written.
  void moved(HostOffset offset);

 private:
  [[nodiscard]] Result<TableHandle> block_of(std::uint64_t cluster);

  Storage& storage_;
  const std::uint32_t cluster_bits_;
  const std::uint32_t order_;
  const std::uint64_t clusters_per_block_;
  const std::uint32_t loaded_clusters_;
  HostOffset offset_;
  std::uint64_t file_end_ = 0;
  std::vector<std::uint64_t> entries_;
  std::set<std::uint64_t> changed_entries_;
  TableCache blocks_;
};

}  // namespace penstock::qcow2
