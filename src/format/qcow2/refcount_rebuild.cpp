// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcount_rebuild.hpp"

#include "base/text.hpp"
#include "format/qcow2/refcount_entry.hpp"

#include <map>

namespace penstock::qcow2 {

namespace {

class Rebuild {
 public:
  Rebuild(const Header& header, ClusterUse& use)
      : header_(header), use_(use), per_block_(header.refcounts_per_block()) {}

  /// Finds room for everything; nothing is written. The old structures still count as in use, so that they stay intact
  /// up to the switch.
  Result<> place() {
    ReferenceTally& references = use_.references();
    references.seal();
    const std::uint64_t end = references.end();
    for (std::uint64_t cluster = 0; (cluster = references.next(cluster, end)) < end;) {
      need_block(cluster);
      cluster = (cluster / per_block_ + 1) * per_block_;
    }
    place_blocks();
    for (std::uint64_t clusters = table_clusters_needed();;) {
      if (clusters << header_.cluster_bits > kRefcountTableBytesMax) {
        return fail(EFBIG, "a refcount table for this image would be larger than the format allows");
      }
      place_table(clusters);
      // The table, and blocks that count it, may need counts behind what the table was to cover.
      if (table_clusters_needed() <= clusters) return {};
      for (std::uint64_t i = 0; i < clusters; ++i) references.subtract(table_ + i);
      clusters = table_clusters_needed();
    }
  }

  Result<> write(Storage& storage) {
    use_.references().seal();
    std::vector<std::byte> block(header_.cluster_size());
    for (const auto& [index, cluster] : blocks_) {
      fill_block(index, block);
      TRY(storage.write({cluster << header_.cluster_bits}, block));
    }
    std::vector<std::byte> table(table_clusters_ << header_.cluster_bits);
    for (const auto& [index, cluster] : blocks_) {
      store_be(std::span<std::byte>(table), index * 8, std::uint64_t{cluster << header_.cluster_bits});
    }
    TRY(storage.write({table_ << header_.cluster_bits}, table));
    return storage.flush();
  }

  [[nodiscard]] HostOffset table_offset() const { return {table_ << header_.cluster_bits}; }
  [[nodiscard]] std::uint32_t table_clusters() const { return static_cast<std::uint32_t>(table_clusters_); }

 private:
  void need_block(std::uint64_t cluster) {
    if (blocks_.try_emplace(cluster / per_block_, 0).second) unplaced_.push_back(cluster / per_block_);
  }

  [[nodiscard]] std::uint64_t table_clusters_needed() const {
    return divide_up((blocks_.rbegin()->first + 1) * 8, header_.cluster_size());
  }

  void take(std::uint64_t cluster) {
    use_.references().add(cluster);
    need_block(cluster);
  }

  void place_blocks() {
    while (!unplaced_.empty()) {
      const std::uint64_t index = unplaced_.back();
      unplaced_.pop_back();
      while (!use_.is_free(free_)) ++free_;
      blocks_[index] = free_;
      take(free_);
    }
  }

  void place_table(std::uint64_t clusters) {
    table_ = 1;
    for (std::uint64_t run = 0; run < clusters;) {
      if (use_.is_free(table_ + run)) {
        ++run;
      } else {
        table_ += run + 1;
        run = 0;
      }
    }
    table_clusters_ = clusters;
    for (std::uint64_t i = 0; i < clusters; ++i) take(table_ + i);
    place_blocks();
  }

  void fill_block(std::uint64_t index, std::span<std::byte> block) {
    std::ranges::fill(block, std::byte{0});
    const std::uint64_t first = index * per_block_;
    const std::uint64_t end = first + per_block_;
    for (std::uint64_t cluster = first; (cluster = use_.references().next(cluster, end)) < end; ++cluster) {
      const std::uint64_t count = std::min(use_.references().get(cluster), header_.refcount_max());
      store_refcount(block, header_.refcount_order, cluster - first, count);
    }
  }

  const Header& header_;
  ClusterUse& use_;
  const std::uint64_t per_block_;
  std::map<std::uint64_t, std::uint64_t> blocks_;  // cluster of each block
  std::vector<std::uint64_t> unplaced_;
  std::uint64_t free_ = 1;  // everything before it is taken
  std::uint64_t table_ = 0;
  std::uint64_t table_clusters_ = 0;
};

}  // namespace

Result<> rebuild_refcounts(Storage& storage, Header& header, ClusterUse& use, const StoredRefcounts& stored) {
  Rebuild rebuild(header, use);
  TRY(rebuild.place());
  stored.uncount(use);
  TRY(rebuild.write(storage));
  TRY(write_refcount_table_switch(storage, rebuild.table_offset(), rebuild.table_clusters()));
  TRY(storage.flush());
  header.refcount_table_offset = rebuild.table_offset();
  header.refcount_table_clusters = rebuild.table_clusters();
  return {};
}

}  // namespace penstock::qcow2
