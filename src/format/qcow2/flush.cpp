// SPDX-License-Identifier: Apache-2.0
// Bringing changes to disk in an order that leaves leaks at most, wherever it is cut.
//
//   data, refcount blocks | refcount table | L2 tables | L1 entries | lowered refcounts | punch, reuse
//
// Each bar is a barrier. What is written is the state at one moment (take_pending), so that a change published later
// never reaches the disk ahead of its data. With lazy refcounts the stages of counts are left out: the dirty bit
// stands in for them until close().
#include "base/broken_order.hpp"
#include "format/qcow2/header_change.hpp"
#include "format/qcow2/qcow2_driver.hpp"

namespace penstock::qcow2 {

struct Driver::Pending {
  std::vector<TableCache::Copy> tables;
  std::vector<std::uint64_t> l1_indexes;
  std::vector<std::uint64_t> l1_values;
  std::vector<ClusterRun> drops;
  std::vector<std::uint64_t> count_entries;  // of the refcount table
  bool lazy = false;
};

Result<> Driver::flush() {
  const FlushLock lock(flush_mutex_);
  return flush_stages();
}

Result<> Driver::close() {
  const FlushLock lock(flush_mutex_);
  TRY(flush_stages());
  TRY(clear_dirty_bit());
  const ChangeLock header_lock(mutex_);
  if (!writable_ || !has_open_flag(header_)) return {};
  return put_header(with_open_flag(header_, false));
}

Result<> Driver::flush_stages() {
  Pending pending;
  const auto outcome = [&]() -> Result<> {
    flush_mutex_.assert_held();
    TRY(settle_header());
    TRY(take_pending(pending));
    if (broken(Order::table_before_data)) TRY(write_links(pending));
    if (data_ != storage_) TRY(data_->flush());
    if (pending.lazy) {
      TRY(storage_->flush());
    } else {
      TRY(write_counts(pending));
    }
    TRY(write_links(pending));
    if (broken(Order::refcount_after_table)) {
      const ChangeLock lock(mutex_);
      TRY(refcounts_.write_blocks());
      TRY(storage_->flush());
    }
    return give_back(pending);
  }();
  if (!outcome) put_back(pending);
  return outcome;
}

/// A write that failed may have happened all the same. Before anything is said to be durable the header must lead to
/// it.
Result<> Driver::settle_header() {
  const ChangeLock lock(mutex_);
  if (!header_unsure_ && !allocator_.table_unsure()) return {};
  TRY(write_header_field(*storage_, kSizeField, header_.size));
  TRY(write_l1_switch(*storage_, header_.l1_entries, header_.l1_offset));
  TRY(write_refcount_table_switch(*storage_, header_.refcount_table_offset, header_.refcount_table_clusters));
  TRY(storage_->flush());
  header_unsure_ = false;
  allocator_.table_is_sure();
  return {};
}

Result<> Driver::take_pending(Pending& pending) {
  const ChangeLock lock(mutex_);
  pending.lazy = header_.lazy_refcounts() && header_.dirty();
  pending.tables = l2_cache_.copy_dirty();
  pending.l1_indexes.assign(l1_changed_.begin(), l1_changed_.end());
  for (const std::uint64_t index : pending.l1_indexes) pending.l1_values.push_back(l1_[index]);
  l1_changed_.clear();
  pending.drops = allocator_.take_drops();
  // A cluster that was filled by leaving it as it was (zeroes behind the end) must lie inside the file. Under the lock
  // nobody can be given room behind end_of_use(), so this cuts nothing off.
  if (const std::uint64_t end = allocator_.end_of_use(); writable_ && end > covered_end_) {
    if (TRY(storage_->size()) < end) TRY(storage_->truncate(end));
    covered_end_ = end;
  }
  if (pending.lazy) return {};
  pending.count_entries = refcounts_.take_changed_entries();
  return broken(Order::refcount_after_table) ? Result<>() : refcounts_.write_blocks();
}

Result<> Driver::write_counts(Pending& pending) {
  TRY(storage_->flush());
  if (pending.count_entries.empty()) return {};
  {
    const ChangeLock lock(mutex_);
    TRY(refcounts_.write_entries(pending.count_entries));
  }
  TRY(storage_->flush());
  pending.count_entries.clear();
  return {};
}

Result<> Driver::write_links(Pending& pending) {
  if (!pending.tables.empty()) {
    for (const TableCache::Copy& copy : pending.tables) {
      TRY(storage_->write(copy.table->offset() + copy.from, copy.bytes));
    }
    TRY(storage_->flush());
    const ChangeLock lock(mutex_);
    for (const TableCache::Copy& copy : pending.tables) l2_cache_.finish(copy, true);
    pending.tables.clear();
  }
  if (!pending.l1_indexes.empty()) {
    {
      const SharedLock lock(mutex_);
      for (std::size_t at = 0; at < pending.l1_indexes.size(); ++at) {
        TRY(write_header_field(*storage_, header_.l1_offset + pending.l1_indexes[at] * 8, pending.l1_values[at]));
      }
    }
    TRY(storage_->flush());
    pending.l1_indexes.clear();
  }
  return {};
}

Result<> Driver::give_back(Pending& pending) {
  {
    const ChangeLock lock(mutex_);
    allocator_.settle(pending.drops);
    pending.drops.clear();
    if (!allocator_.any_freed() && !refcounts_.blocks_changed()) return {};
    if (!pending.lazy) TRY(refcounts_.write_blocks());
    if (!allocator_.any_freed()) return {};
  }
  if (!pending.lazy) TRY(storage_->flush());
  std::vector<ClusterRun> freed;
  {
    const ChangeLock lock(mutex_);
    freed = allocator_.take_freed();
  }
  // Punch before anybody can be given the clusters again: a late punch would erase the next owner's data.
  Result<> outcome;
  for (const ClusterRun& run : freed) {
    if (outcome) {
      outcome = storage_->discard({{run.first * geometry_.cluster_size}, run.count * geometry_.cluster_size});
    }
  }
  const ChangeLock lock(mutex_);
  allocator_.reuse(freed);
  return outcome;
}

void Driver::put_back(Pending& pending) {
  const ChangeLock lock(mutex_);
  for (const TableCache::Copy& copy : pending.tables) l2_cache_.finish(copy, false);
  l1_changed_.insert(pending.l1_indexes.begin(), pending.l1_indexes.end());
  allocator_.put_back_drops(pending.drops);
  refcounts_.put_back_entries(pending.count_entries);
}

Result<> Driver::clear_dirty_bit() {
  {
    const ChangeLock lock(mutex_);
    if (!writable_ || !header_.dirty()) return {};
    TRY(refcounts_.write_blocks());
  }
  TRY(storage_->flush());
  {
    const ChangeLock lock(mutex_);
    TRY(refcounts_.write_entries(refcounts_.take_changed_entries()));
  }
  TRY(storage_->flush());
  const ChangeLock lock(mutex_);
  TRY(write_header_field(*storage_, kIncompatibleField, header_.incompatible & ~std::uint64_t{kDirty}));
  TRY(storage_->flush());
  header_.incompatible &= ~std::uint64_t{kDirty};
  return {};
}

}  // namespace penstock::qcow2
