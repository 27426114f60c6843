// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/stored_refcounts.hpp"

#include "base/text.hpp"
#include "format/qcow2/refcount_entry.hpp"

#include <unordered_set>

namespace penstock::qcow2 {

namespace {

constexpr std::uint64_t kEntryReserved = 0x1ff;
constexpr std::uint64_t kCacheBytes = 8U << 20U;
constexpr std::uint64_t kChangedBytesMax = 8U << 20U;
constexpr std::uint64_t kRepeatedMax = 16U << 20U;  ///< counts compared again because two entries name one block

}  // namespace

StoredRefcounts::StoredRefcounts(TableReader& reader, const Header& header)
    : reader_(reader),
      header_(header),
      per_block_(header.refcounts_per_block()),
      blocks_(reader.storage(), header.cluster_size(), kCacheBytes) {}

Result<> StoredRefcounts::load() {
  const std::uint64_t entries = (std::uint64_t{header_.refcount_table_clusters} << header_.cluster_bits) / 8;
  const std::uint64_t offset = header_.refcount_table_offset.value;
  broken_ = entries == 0 || offset == 0 || offset >= reader_.file_size();
  return reader_.for_each_entry(header_.refcount_table_offset, entries,
                                [this](std::uint64_t index, std::uint64_t entry) -> Result<> {
                                  entries_.resize(index + 1);
                                  entries_[index] = entry;
                                  return {};
                                });
}

bool StoredRefcounts::is_counted(std::uint64_t entry) const {
  return entry != 0 && is_aligned(entry, header_.cluster_size()) && entry >> header_.cluster_bits < clusters_;
}

Result<> StoredRefcounts::count_blocks(ClusterUse& use, Findings& findings) {
  clusters_ = use.clusters();
  for (std::uint64_t index = 0; index < entries_.size(); ++index) {
    const std::uint64_t entry = entries_[index];
    if (entry == 0) continue;
    const std::uint64_t cluster = entry >> header_.cluster_bits;
    if ((entry & kEntryReserved) != 0) {
      findings.corruption(concat("ERROR refcount table entry ", index, " has reserved bits set"));
    } else if (!is_aligned(entry, header_.cluster_size())) {
      findings.corruption(
          concat("ERROR refcount block ", index, " is not cluster aligned; refcount table entry corrupted"));
    } else if (cluster >= clusters_) {
      findings.corruption(concat("ERROR refcount block ", index, " is outside image"));
    }
    if (!is_counted(entry)) {
      broken_ = true;
      continue;
    }
    use.count({entry}, header_.cluster_size(), 1, findings);
    const std::uint64_t references = use.references().get(cluster);
    if (references == 1) continue;
    broken_ = true;
    // Counts that cannot grow so far are reported as overflows instead.
    if (header_.refcount_max() > 1) {
      findings.corruption(concat("ERROR refcount block ", index, " refcount=", references));
    }
  }
  return {};
}

void StoredRefcounts::uncount(ClusterUse& use) const {
  for (const std::uint64_t entry : entries_) {
    if (is_counted(entry) && use.is_countable({entry}, header_.cluster_size())) {
      use.references().subtract(entry >> header_.cluster_bits);
    }
  }
  const std::uint64_t bytes = std::uint64_t{header_.refcount_table_clusters} << header_.cluster_bits;
  if (!use.is_countable(header_.refcount_table_offset, bytes)) return;
  const std::uint64_t first = header_.refcount_table_offset.value >> header_.cluster_bits;
  for (std::uint64_t i = 0; i < header_.refcount_table_clusters; ++i) use.references().subtract(first + i);
}

HostOffset StoredRefcounts::block_at(std::uint64_t index) const {
  if (index >= entries_.size()) return {0};
  const std::uint64_t offset = entries_[index] & ~kEntryReserved;
  const bool readable = is_aligned(offset, header_.cluster_size()) && offset < reader_.file_size();
  return {readable ? offset : 0};
}

Result<std::uint64_t> StoredRefcounts::get(std::uint64_t cluster) {
  const HostOffset block = block_at(cluster / per_block_);
  if (block.value == 0) return 0;
  const TableHandle table = TRY(blocks_.load(block));
  return load_refcount(table->bytes(), header_.refcount_order, cluster % per_block_);
}

Result<> StoredRefcounts::for_each_mismatch(const ClusterUse& use, Extent extent, const Visit& visit) {
  std::unordered_set<std::uint64_t> seen;
  std::uint64_t repeated = 0;
  const std::uint64_t limit = extent == Extent::file ? use.clusters() : UINT64_MAX;
  const std::uint64_t covered = std::min(limit, entries_.size() * per_block_);
  for (std::uint64_t first = 0; first < covered; first += per_block_) {
    const std::uint64_t end = std::min(limit, first + per_block_);
    HostOffset block = block_at(first / per_block_);
    if (block.value != 0 && TRY(is_hole(block))) block = {0};
    // A block named twice is damage already reported; a table that names few blocks a million times must not keep us.
    if (block.value != 0 && !seen.insert(block.value).second && (repeated += end - first) > kRepeatedMax) block = {0};
    if (block.value == 0) {
      TRY(compare_absent(use, first, end, visit));
    } else {
      TRY(compare_block(use, block, {first, end}, visit));
    }
  }
  used_end_ = std::min(used_end_, use.clusters());
  return compare_absent(use, covered, use.clusters(), visit);
}

Result<bool> StoredRefcounts::is_hole(HostOffset block) {
  const HostExtent extent = TRY(reader_.storage().extent(block));
  return !extent.data && extent.length >= header_.cluster_size();
}

Result<> StoredRefcounts::compare_absent(const ClusterUse& use, std::uint64_t first, std::uint64_t end,
                                         const Visit& visit) {
  for (std::uint64_t cluster = first; (cluster = use.references().next(cluster, end)) < end; ++cluster) {
    used_end_ = std::max(used_end_, cluster + 1);
    TRY(visit({cluster, 0, use.references().get(cluster)}));
  }
  return {};
}

Result<> StoredRefcounts::compare_block(const ClusterUse& use, HostOffset block, Clusters clusters,
                                        const Visit& visit) {
  // By value: the visitor may change counts, but only of the cluster it is called for.
  const TableHandle table = TRY(blocks_.load(block));
  for (std::uint64_t cluster = clusters.first; cluster < clusters.end; ++cluster) {
    const std::uint64_t stored = load_refcount(table->bytes(), header_.refcount_order, cluster - clusters.first);
    const std::uint64_t counted = use.references().get(cluster);
    if (stored == 0 && counted == 0) continue;
    used_end_ = std::max(used_end_, cluster + 1);
    if (stored != counted) TRY(visit({cluster, stored, counted}));
  }
  return {};
}

Result<> StoredRefcounts::set(std::uint64_t cluster, std::uint64_t count) {
  const TableHandle table = TRY(blocks_.load(block_at(cluster / per_block_)));
  const std::uint64_t index = cluster % per_block_;
  store_refcount(table->mutable_bytes(), header_.refcount_order, index, count);
  const std::uint32_t bits = header_.refcount_bits();
  blocks_.mark_dirty(table, index * bits / 8, std::max(1U, bits / 8));
  return blocks_.dirty_bytes() > kChangedBytesMax ? blocks_.write_dirty() : Result<>();
}

Result<> StoredRefcounts::write() {
  TRY(blocks_.write_dirty());
  return reader_.storage().flush();
}

}  // namespace penstock::qcow2
