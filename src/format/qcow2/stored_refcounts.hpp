// SPDX-License-Identifier: Apache-2.0
/// The refcounts as the image stores them, however damaged.
#pragma once

#include "format/qcow2/cluster_use.hpp"
#include "format/qcow2/table_reader.hpp"
#include "format/table_cache.hpp"

namespace penstock::qcow2 {

/// Threads: one at a time. Memory: the part of the refcount table that the file holds (8 MiB at most) and a few blocks.
class StoredRefcounts {
 public:
  StoredRefcounts(TableReader& reader, const Header& header);

  [[nodiscard]] Result<> load();
  /// Reports damaged table entries and counts the references to the blocks of sound ones. All else must have been
  /// counted before: a block that anything else refers to as well is damage, too.
  [[nodiscard]] Result<> count_blocks(ClusterUse& use, Findings& findings);
  /// Takes the references of count_blocks() and of the table itself back, when both are about to be replaced.
  void uncount(ClusterUse& use) const;

  /// Whether a count can only be mended by building the structure anew.
  [[nodiscard]] bool broken() const { return broken_; }
  /// Whether `cluster` has a place for its count.
  [[nodiscard]] bool covers(std::uint64_t cluster) const { return block_at(cluster / per_block_).value != 0; }
  /// 0 where there is no block.
  [[nodiscard]] Result<std::uint64_t> get(std::uint64_t cluster);
  /// `covers(cluster)` must be true, and the structure not broken(). On disk after write().
  [[nodiscard]] Result<> set(std::uint64_t cluster, std::uint64_t count);
  /// Writes the changed counts, durably.
  [[nodiscard]] Result<> write();

  struct Mismatch {
    std::uint64_t cluster = 0;
    std::uint64_t stored = 0;
    std::uint64_t counted = 0;  ///< may be more than the width can hold
  };
  using Visit = std::function<Result<>(const Mismatch&)>;
  /// Which clusters to look at: QEMU looks at no count of a cluster behind the end of the file. Left over from a crash,
  /// such a count becomes a leak as soon as the file has grown.
  enum class Extent : std::uint8_t { file, all };
  /// Calls `visit` for each cluster whose stored count is not what was counted, in order. It may set() the count of
  /// that cluster. `use.references()` must be sealed.
  [[nodiscard]] Result<> for_each_mismatch(const ClusterUse& use, Extent extent, const Visit& visit);
  /// After for_each_mismatch(): one behind the last cluster that is stored or counted as in use.
  [[nodiscard]] std::uint64_t used_end() const { return used_end_; }

 private:
  struct Clusters {
    std::uint64_t first = 0;
    std::uint64_t end = 0;
  };

  [[nodiscard]] Result<bool> is_hole(HostOffset block);
  [[nodiscard]] Result<> compare_absent(const ClusterUse& use, std::uint64_t first, std::uint64_t end,
                                        const Visit& visit);
  [[nodiscard]] Result<> compare_block(const ClusterUse& use, HostOffset block, Clusters clusters, const Visit& visit);
  /// Where block `index` lies; 0 when there is none that can be read.
  [[nodiscard]] HostOffset block_at(std::uint64_t index) const;
  /// Whether count_blocks() counts the block of this entry.
  [[nodiscard]] bool is_counted(std::uint64_t entry) const;

  TableReader& reader_;
  const Header& header_;
  const std::uint64_t per_block_;
  std::uint64_t clusters_ = 0;  // of the file, when the blocks were counted
  std::vector<std::uint64_t> entries_;
  bool broken_ = false;
  std::uint64_t used_end_ = 0;
  TableCache blocks_;
};

}  // namespace penstock::qcow2
