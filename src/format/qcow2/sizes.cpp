// SPDX-License-Identifier: Apache-2.0
// Growing and shrinking. Source: penstock-formats(5), "qcow2: resize". The caller (Image) lets no other change run
// beside it.
#include "base/endian.hpp"
#include "base/text.hpp"
#include "format/qcow2/qcow2_driver.hpp"

namespace penstock::qcow2 {

Result<> Driver::resize(std::uint64_t size, std::uint64_t backing_size) {
  // Everyone rounds the size in the header down to sectors: what lies behind would be lost at the next opening.
  constexpr std::uint64_t kSectorBytes = 512;
  if (!is_aligned(size, kSectorBytes)) return fail(EINVAL, concat("size ", size, " is not a multiple of 512"));
  TRY(begin_writing());
  const FlushLock lock(flush_mutex_);
  const std::uint64_t old_size = virtual_size_.load();
  const std::uint64_t l1_entries = divide_up(size, l2_span_);
  {
    const SharedLock shared(mutex_);
    if (header_.version < 3 && header_.snapshot_count != 0) {
      return unsupported("a version 2 image with snapshots cannot be resized: they do not store their size");
    }
    if (l1_entries > kL1EntriesMax) {
      return fail(EFBIG, concat("size ", size, " is too large for clusters of ", geometry_.cluster_size, " bytes"));
    }
    if (header_.version < 3 && hides_backing_ && size > old_size && backing_size > old_size) {
      return unsupported(
          "the backing file is longer than the image, and version 2 has no zero clusters to hide its tail");
    }
  }
  if (size > old_size) {
    TRY(grow_l1(l1_entries));
    const std::uint64_t hidden_end = std::min(size, backing_size);
    const std::uint64_t from = align_up(old_size, geometry_.cluster_size);
    if (hidden_end > from) TRY(hide_backing({{from}, hidden_end - from}));
    if (data_ != storage_ && TRY(data_->size()) < size) TRY(data_->truncate(size));
  } else {
    TRY(drop_behind(size));
  }
  TRY(flush_stages());
  TRY(write_size(size));
  if (data_ != storage_ && size < old_size) TRY(data_->truncate(size));
  return {};
}

Result<> Driver::grow_l1(std::uint64_t entries) {
  // The new table holds what is on disk now; nothing may be pending when it takes over.
  TRY(flush_stages());
  ClusterRun room;
  std::vector<std::byte> table(align_up(entries * 8, geometry_.cluster_size));
  {
    const ChangeLock lock(mutex_);
    if (entries <= header_.l1_entries) return {};
    TRY(before_table_change());
    for (std::size_t index = 0; index < l1_.size(); ++index) store_be(std::span(table), index * 8, l1_[index]);
    room = TRY(allocator_.allocate_contiguous(table.size() / geometry_.cluster_size));
    metadata_.fixed.insert(room.first, room.count);
  }
  const HostOffset offset{room.first * geometry_.cluster_size};
  const auto switch_over = [&]() -> Result<> {
    flush_mutex_.assert_held();
    TRY(storage_->write(offset, table));
    TRY(flush_stages());  // the table and the counts of its clusters
    header_unsure_ = true;
    TRY(write_l1_switch(*storage_, static_cast<std::uint32_t>(entries), offset));
    header_unsure_ = false;
    return {};
  };
  const auto outcome = switch_over();
  const ChangeLock lock(mutex_);
  if (!outcome && header_unsure_) return outcome;  // the header may name the new table: it is never touched again
  if (!outcome) {
    metadata_.fixed.erase(room.first, room.count);
    allocator_.release(room);
    return outcome;
  }
  const ClusterRun old{header_.l1_offset.value / geometry_.cluster_size,
                       divide_up(std::uint64_t{header_.l1_entries} * 8, geometry_.cluster_size)};
  header_.l1_entries = static_cast<std::uint32_t>(entries);
  header_.l1_offset = offset;
  metadata_.fixed.erase(old.first, old.count);
  TRY(storage_->flush());
  allocator_.drop(old);
  return {};
}

Result<> Driver::hide_backing(GuestRange range) {
  while (!range.empty()) {
    std::uint64_t done = 0;
    bool much = false;
    {
      const ChangeLock lock(mutex_);
      done = TRY(change_entries(range, [&](const L2Entry& old, const Part& part) {
        mutex_.assert_held_shared();
        return zeroed(old, {part.cluster, 0, subclusters_}, Zeroing::may_unmap);
      }));
      much = l2_cache_.dirty_bytes() > table_cache_bytes_ / 2;
    }
    if (much) TRY(flush_stages());
    range = {range.offset + done, range.length - done};
  }
  return {};
}

Result<> Driver::make_empty() {
  TRY(begin_writing());
  const FlushLock lock(flush_mutex_);
  TRY(flush_stages());
  // Table by table: wherever a crash cuts it short, some clusters show the backing file and the others themselves.
  TRY(drop_behind(0));
  return flush_stages();
}

Result<> Driver::drop_behind(std::uint64_t size) {
  const GuestOffset from{align_up(size, geometry_.cluster_size)};
  for (std::uint64_t index = l1_index(from);; ++index) {
    {
      const ChangeLock lock(mutex_);
      if (index >= l1_.size()) return {};
      const std::uint32_t first = index == l1_index(from) ? l2_index(from) : 0;
      auto table = TRY(l2_for_read(index));
      if (!table) continue;
      if (doubly_linked_.contains(table->offset().value / geometry_.cluster_size)) {
        // Given back twice, its clusters might be somebody else's by then.
        return corrupt(concat("L1 entry ", index, ": the L2 table is named twice; run penstock check -r all"));
      }
      TRY(before_table_change());
      if (first != 0) table = TRY(l2_for_change(index));
      for (std::uint32_t entry = first; entry < header_.l2_entries(); ++entry) {
        const L2Entry old = TRY(checked_entry(table, guest_of(index, entry)));
        if (old == L2Entry{}) continue;
        if (first != 0) {
          replace_entry(table, entry, old, {});
        } else if (const ClusterRun run = referenced(old); run.count != 0) {
          allocator_.drop(run);
        }
      }
      if (first == 0) {
        const std::uint64_t cluster = table->offset().value / geometry_.cluster_size;
        set_l1(index, 0);
        metadata_.l2_tables.erase(cluster);
        l2_cache_.forget(table->offset());
        allocator_.drop({cluster, 1});
      }
    }
    constexpr std::uint64_t kTablesAtOnce = 64;
    if (index % kTablesAtOnce == 0) TRY(flush_stages());
  }
}

Result<> Driver::write_size(std::uint64_t size) {
  header_unsure_ = true;
  TRY(write_header_field(*storage_, kSizeField, size));
  TRY(storage_->flush());
  header_unsure_ = false;
  const ChangeLock lock(mutex_);
  header_.size = size;
  virtual_size_.store(size);
  return {};
}

}  // namespace penstock::qcow2
