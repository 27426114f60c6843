// SPDX-License-Identifier: Apache-2.0
/// Finding host clusters and giving them back in an order that no crash can turn into corruption.
///
/// A cluster's way:  free -> allocate(): count 1 in memory -> release(): never linked, free at once
///                                                        -> linked; drop(): the link is gone in memory
///   drop -> (link durably gone) settle(): count lowered -> (count durable) punched, reusable
/// Until the last step it is handed out to nobody: after a crash an old table may still lead to it.
#pragma once

#include "format/qcow2/metadata.hpp"
#include "format/qcow2/refcount.hpp"

namespace penstock::qcow2 {

/// A run of host clusters, as numbers.
struct ClusterRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// Threads: one at a time (the driver's exclusive metadata lock).
/// Errors: EUCLEAN when the refcounts are wrong, ENOSPC/EFBIG at the end of the device or format.
class Allocator {
 public:
  Allocator(Storage& storage, Header& header, Refcounts& refcounts, Metadata& metadata);

  /// `file_end` in bytes: what lies behind reads as zero, unless the storage cannot grow.
  void start(std::uint64_t file_end, bool growable);

  struct Allocation {
    ClusterRun run;
    bool reads_zero = false;
  };
  /// At least one and at most `count_max` neighbouring clusters, their counts raised to 1.
  [[nodiscard]] Result<Allocation> allocate(std::uint64_t count_max);
  /// Room for a compressed cluster of 1 to cluster_size - 1 bytes, beside others of its kind where there is some: the
  /// count of every cluster it touches is raised by one. Never in a cluster that holds anything else.
  [[nodiscard]] Result<HostRange> allocate_packed(std::uint32_t bytes);
  /// The room was never linked.
  void release_packed(HostRange room);
  /// Exactly `count` neighbouring clusters (a new L1 table).
  [[nodiscard]] Result<ClusterRun> allocate_contiguous(std::uint64_t count);
  /// Clusters that were never linked are free again.
  void release(ClusterRun run);

  /// One reference to each cluster is gone from the tables in memory.
  void drop(ClusterRun run);
  [[nodiscard]] std::size_t drops_pending() const { return drops_.size(); }
  [[nodiscard]] std::vector<ClusterRun> take_drops() { return std::exchange(drops_, {}); }
  void put_back_drops(const std::vector<ClusterRun>& drops) { drops_.insert(drops_.end(), drops.begin(), drops.end()); }
  /// The links are durably gone: lowers the counts. What reaches 0 waits for reuse().
  void settle(const std::vector<ClusterRun>& drops);
  /// Clusters whose count is 0 in memory; once that is durable and they are punched, reuse() frees them.
  [[nodiscard]] std::vector<ClusterRun> take_freed() { return std::exchange(freed_, {}); }
  void put_back_freed(const std::vector<ClusterRun>& freed) { freed_.insert(freed_.end(), freed.begin(), freed.end()); }
  [[nodiscard]] bool any_freed() const { return !freed_.empty(); }
  void reuse(const std::vector<ClusterRun>& freed);

  /// Whether the header may name a refcount table that is not in use, since writing it failed.
  [[nodiscard]] bool table_unsure() const { return table_unsure_; }
  void table_is_sure() { table_unsure_ = false; }

  /// First byte that was never handed out: an entry that points at or behind it is corrupt.
  [[nodiscard]] std::uint64_t end_of_use() const { return fresh_from_ << header_.cluster_bits; }

 private:
  [[nodiscard]] Result<> make_block(std::uint64_t cluster);
  [[nodiscard]] Result<> grow_table(std::uint64_t cluster);
  [[nodiscard]] Result<bool> is_free(std::uint64_t cluster);
  [[nodiscard]] Result<> check_usable(std::uint64_t cluster) const;
  [[nodiscard]] Result<> raise(ClusterRun run);
  void lower_one(std::uint64_t cluster);
  [[nodiscard]] Result<HostOffset> place_packed(std::uint32_t bytes);
  void forget_packed(std::uint64_t cluster);

  Storage& storage_;
  Header& header_;
  Refcounts& refcounts_;
  Metadata& metadata_;
  std::uint64_t hint_ = 0;        // no free cluster lies before it
  std::uint64_t fresh_from_ = 0;  // this cluster and all behind it were never handed out
  bool growable_ = true;
  bool table_unsure_ = false;
  std::uint64_t packed_at_ = 0;  // byte behind the last packed room, inside its cluster; 0: begin a new cluster
  ClusterSet waiting_;           // count 0 in memory, not reusable yet
  std::vector<ClusterRun> drops_;
  std::vector<ClusterRun> freed_;
};

}  // namespace penstock::qcow2
