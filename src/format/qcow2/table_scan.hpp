// SPDX-License-Identifier: Apache-2.0
/// The first part of a check: walks every table of the image and counts what it refers to, all but the refcount blocks.
#pragma once

#include "format/qcow2/cluster_use.hpp"
#include "format/qcow2/l2_entry.hpp"
#include "format/qcow2/snapshots.hpp"
#include "format/qcow2/table_reader.hpp"

namespace penstock::qcow2 {

/// Threads: one at a time. Memory: the tallies of ClusterUse, a table, and the directories of snapshots and bitmaps.
class TableScan {
 public:
  TableScan(TableReader& reader, const Header& header, ClusterUse& use, Findings& findings)
      : reader_(reader), header_(header), use_(use), findings_(findings), table_(header.cluster_size()) {}

  /// Errors: EIO, EUCLEAN, EFBIG for what keeps the scan from being complete; nothing may be repaired then.
  [[nodiscard]] Result<> run();
  /// Entries that can be repaired by making them zero (entry_repair.hpp).
  [[nodiscard]] std::uint64_t repairable_entries() const { return repairable_entries_; }

 private:
  /// One L2 table, named by `times` L1 entries.
  struct Visit {
    HostOffset offset;
    std::uint64_t times = 1;
    bool active = false;  ///< of the active L1, at `guest`
    GuestOffset guest;
  };

  [[nodiscard]] Result<> scan_active();
  [[nodiscard]] Result<> scan_snapshots();
  [[nodiscard]] Result<> scan_bitmaps();
  /// Counts what an L1 entry refers to; the table itself is scanned at once only where it is misaligned, else noted in
  /// `tables`, so that a table named many times is read once.
  [[nodiscard]] Result<> scan_l1_entry(std::uint64_t entry, ReferenceTally& tables, bool active);
  [[nodiscard]] Result<> scan_l2(const Visit& visit);
  void scan_entry(const L2Entry& entry, std::uint32_t index, const Visit& visit);
  void scan_compressed(const L2Entry& entry, std::uint32_t index, const Visit& visit);
  void scan_allocated(const L2Entry& entry, const Visit& visit, GuestOffset guest);
  void count_fragment(HostOffset offset, const Visit& visit);

  TableReader& reader_;
  const Header& header_;
  ClusterUse& use_;
  Findings& findings_;
  std::vector<std::byte> table_;
  std::uint64_t next_contiguous_ = 0;  // where the next cluster would lie, were the image not fragmented
  std::uint64_t repairable_entries_ = 0;
};

/// Whether the entry maps nothing but zeroes to a misaligned place, so that making it a plain zero loses nothing.
[[nodiscard]] bool is_repairable(const Header& header, const L2Entry& entry);

}  // namespace penstock::qcow2
