// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcount.hpp"

#include "base/text.hpp"
#include "format/qcow2/refcount_entry.hpp"

namespace penstock::qcow2 {

Refcounts::Refcounts(Storage& storage, const Header& header, std::uint64_t cache_bytes)
    : storage_(storage),
      cluster_bits_(header.cluster_bits),
      order_(header.refcount_order),
      clusters_per_block_(header.refcounts_per_block()),
      loaded_clusters_(header.refcount_table_clusters),
      offset_(header.refcount_table_offset),
      blocks_(storage, header.cluster_size(), cache_bytes) {}

Result<> Refcounts::load(std::uint64_t file_end) {
  file_end_ = file_end;
  std::vector<std::byte> table(std::uint64_t{loaded_clusters_} << cluster_bits_);
  TRY(storage_.read(offset_, table));
  entries_.resize(table.size() / 8);
  for (std::size_t index = 0; index < entries_.size(); ++index) {
    entries_[index] = load_be<std::uint64_t>(table, index * 8);
  }
  return {};
}

bool Refcounts::has_block(std::uint64_t cluster) const {
  const std::uint64_t index = cluster / clusters_per_block_;
  return index < entries_.size() && entries_[index] != 0;
}

Result<TableHandle> Refcounts::block_of(std::uint64_t cluster) {
  const std::uint64_t index = cluster / clusters_per_block_;
  const std::uint64_t entry = entries_[index];
  const std::uint64_t cluster_size = 1ULL << cluster_bits_;
  if (!is_aligned(entry, cluster_size) || entry >= file_end_) {
    return corrupt(concat("refcount table entry ", index, ": block offset ", hex(entry),
                          " is not a cluster of the file; run penstock check -r all"));
  }
  return blocks_.load({entry});
}

Result<std::uint64_t> Refcounts::get(std::uint64_t cluster) {
  if (!has_block(cluster)) return 0;
  const auto block = TRY(block_of(cluster));
  return load_refcount(block->bytes(), order_, cluster % clusters_per_block_);
}

Result<> Refcounts::set(std::uint64_t cluster, std::uint64_t value) {
  const auto block = TRY(block_of(cluster));
  const std::uint64_t index = cluster % clusters_per_block_;
  blocks_.mark_dirty(block, (index << order_) / 8, order_ > 3 ? 1ULL << (order_ - 3) : 1);
  store_refcount(block->mutable_bytes(), order_, index, value);
  return {};
}

void Refcounts::add_block(std::uint64_t cluster, std::uint64_t block_cluster) {
  const std::uint64_t index = cluster / clusters_per_block_;
  const HostOffset offset{block_cluster << cluster_bits_};
  entries_[index] = offset.value;
  file_end_ = std::max(file_end_, ((block_cluster + 1) << cluster_bits_));
  changed_entries_.insert(index);
  static_cast<void>(blocks_.add(offset));
}

void Refcounts::remove_block(std::uint64_t cluster) {
  const std::uint64_t index = cluster / clusters_per_block_;
  blocks_.forget({entries_[index]});
  entries_[index] = 0;
  changed_entries_.erase(index);
}

std::vector<std::uint64_t> Refcounts::take_changed_entries() {
  std::vector<std::uint64_t> indexes(changed_entries_.begin(), changed_entries_.end());
  changed_entries_.clear();
  return indexes;
}

void Refcounts::put_back_entries(const std::vector<std::uint64_t>& indexes) {
  changed_entries_.insert(indexes.begin(), indexes.end());
}

Result<> Refcounts::write_entries(const std::vector<std::uint64_t>& indexes) {
  for (const std::uint64_t index : indexes) {
    TRY(write_header_field(storage_, offset_ + index * 8, entries_[index]));
  }
  return {};
}

std::vector<std::byte> Refcounts::encode_table() const {
  std::vector<std::byte> table(align_up(entries_.size() * 8, 1ULL << cluster_bits_));
  for (std::size_t index = 0; index < entries_.size(); ++index) {
    store_be(std::span(table), index * 8, entries_[index]);
  }
  return table;
}

void Refcounts::moved(HostOffset offset) {
  offset_ = offset;
  changed_entries_.clear();
}

}  // namespace penstock::qcow2
