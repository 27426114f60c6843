// SPDX-License-Identifier: Apache-2.0
// Reserve, publish, zero, flush, resize. Source: penstock-formats(5), "QED: write, write zeroes, discard, resize".
#include "base/broken_order.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "format/qed/qed_driver.hpp"

#include <algorithm>

namespace penstock::qed {

namespace {
constexpr std::uint64_t kZeroCluster = 1;
constexpr std::chrono::milliseconds kIdle{5000};  // as QEMU
}  // namespace

struct Driver::Room final : Reservation::State {
  Room(Driver& the_driver, HostRange the_host) : driver(the_driver), host(the_host) {}
  ~Room() override {
    const MustHaveMemory memory(std::nothrow);
    if (!host.empty()) driver.release(host);
  }
  Driver& driver;
  HostRange host;  // nothing once linked
};

Result<HostOffset> Driver::allocate(std::uint64_t bytes) {
  if (!fits(end_, bytes, storage_->facts().size_max)) return fail(ENOSPC, "the image file cannot grow any further");
  TRY(before_allocation());
  const HostOffset offset{end_};
  end_ += bytes;
  allocations_.fetch_add(1);
  return offset;
}

void Driver::release(HostRange room) {
  const ChangeLock lock(mutex_);
  spare_.push_back(room);
}

Result<> Driver::before_allocation() {
  // Over a backing file, too, where QEMU never sets it: the order of the flush alone keeps contents right, but what a
  // crash leaves unused is found again only by a check.
  if ((header_.features & kNeedCheck) != 0) return {};
  Header next = header_;
  next.features |= kNeedCheck;
  TRY(write_header(*storage_, next));
  TRY(storage_->flush());
  header_.features |= kNeedCheck;
  watch_for_idleness();
  return {};
}

Result<Reservation> Driver::reserve(GuestRange want) {
  const ChangeLock lock(mutex_);
  const std::uint64_t index = l1_index(want.offset);
  const HostOffset table = TRY(l2_table(index));
  const GuestOffset first{align_down(want.offset.value, cluster_size_)};
  const std::uint64_t end = std::min(want.end().value, (index + 1) * l2_span_);
  std::uint64_t length = 0;
  while (first.value + length < end) {
    const std::uint64_t value = table.value == 0 ? 0 : TRY(entry(table, first + length));
    if (value > kZeroCluster) break;
    length += cluster_size_;
  }
  if (length == 0) return fail(EINVAL, "the cluster has its room already");
  HostRange host{{0}, length};
  bool reads_zero = false;
  if (!spare_.empty()) {
    host.length = std::min(length, spare_.back().length);
    host.offset = spare_.back().offset;
    spare_.back() = {host.end(), spare_.back().length - host.length};
    if (spare_.back().empty()) spare_.pop_back();
    TRY(before_allocation());
  } else {
    host.offset = TRY(allocate(length));
    reads_zero = true;
  }
  const GuestRange range{first, host.length};
  return Reservation(range, {{range, storage_.get(), host.offset, reads_zero}}, std::make_unique<Room>(*this, host));
}

Result<> Driver::publish(Reservation filled) {
  auto& room = static_cast<Room&>(*filled.state());
  {
    const ChangeLock lock(mutex_);
    const GuestRange range = filled.range();
    const HostOffset table = TRY(l2_table_for_change(l1_index(range.offset)));
    const HostRange host = room.host;
    for (std::uint64_t done = 0; done < range.length; done += cluster_size_) {
      const Slot entry_slot = TRY(slot(table, l2_index(range.offset + done)));
      TRY(make_room(entry_slot));
      // Should a later page fail to load, what is linked by now must not be given back with the rest.
      room.host = {};
      put(entry_slot, host.offset.value + done, Level::l2);
    }
  }
  return flush_when_much_is_pending();
}

Result<std::uint64_t> Driver::zero_entries(GuestRange units) {
  const std::uint64_t index = l1_index(units.offset);
  const std::uint64_t end = std::min(units.end().value, (index + 1) * l2_span_);
  HostOffset table = TRY(l2_table(index));
  if (table.value == 0 && !hides_backing_) return end - units.offset.value;  // reads zero as it is
  std::uint64_t at = units.offset.value;
  while (at < end) {
    const std::uint64_t value = table.value == 0 ? 0 : TRY(entry(table, {at}));
    // A data cluster keeps its room: unlinked, nothing could ever use it again.
    if (value > kZeroCluster) break;
    if (value == 0 && hides_backing_) {
      table = TRY(l2_table_for_change(index));
      const Slot entry_slot = TRY(slot(table, l2_index({at})));
      TRY(make_room(entry_slot));
      put(entry_slot, kZeroCluster, Level::l2);
    }
    at += cluster_size_;
  }
  if (at == units.offset.value) return unsupported("a QED data cluster is zeroed in place");
  return std::min(at, end) - units.offset.value;
}

Result<std::uint64_t> Driver::publish_zero(GuestRange units, Zeroing /*zeroing*/) {
  std::uint64_t done = 0;
  {
    const ChangeLock lock(mutex_);
    done = TRY(zero_entries(units));
  }
  TRY(flush_when_much_is_pending());
  return done;
}

Result<> Driver::discard(GuestRange range) {
  // The entries stay; the host room of data clusters is given back where it lies.
  GuestRange left = narrow(range, cluster_size_);
  while (!left.empty()) {
    const Mapping mapping = TRY(map(left));
    if (mapping.kind == MappingKind::data) TRY(storage_->discard({mapping.host_offset, mapping.length}));
    left = {left.offset + mapping.length, left.length - mapping.length};
  }
  return {};
}

Result<> Driver::flush_when_much_is_pending() {
  {
    const SharedLock lock(mutex_);
    if (l2_pages_.dirty_bytes() + l1_pages_.dirty_bytes() <= cache_bytes_ / 2) return {};
  }
  return flush();
}

Result<> Driver::flush() {
  const FlushLock lock(flush_mutex_);
  return flush_stages();
}

Result<> Driver::flush_stages() {
  std::vector<TableCache::Copy> l1;
  std::vector<TableCache::Copy> l2;
  {
    const ChangeLock lock(mutex_);
    // Under the lock nobody can be given room behind end_, so this cuts nothing off.
    if (end_ > covered_end_) {
      if (TRY(storage_->size()) < end_) TRY(storage_->truncate(end_));
      covered_end_ = end_;
    }
    l1 = l1_pages_.copy_dirty();
    l2 = l2_pages_.copy_dirty();
  }
  const auto outcome = [&]() -> Result<> {
    if (!broken(Order::table_before_data)) TRY(storage_->flush());
    TRY(write_copies(l2, l2_pages_));
    return write_copies(l1, l1_pages_);
  }();
  if (outcome) return {};
  const ChangeLock lock(mutex_);
  for (const auto& copy : l2) l2_pages_.finish(copy, false);
  for (const auto& copy : l1) l1_pages_.finish(copy, false);
  return outcome;
}

Result<> Driver::write_copies(std::vector<TableCache::Copy>& copies, TableCache& cache) {
  if (copies.empty()) return {};
  for (const auto& copy : copies) TRY(storage_->write(copy.table->offset() + copy.from, copy.bytes));
  TRY(storage_->flush());
  const ChangeLock lock(mutex_);
  for (const auto& copy : copies) cache.finish(copy, true);
  copies.clear();
  return {};
}

Result<> Driver::clear_need_check() {
  const ChangeLock lock(mutex_);
  // Set by a writer before us it stays: open() clears it when the check finds nothing.
  if (!writable_ || (header_.features & kNeedCheck) == 0) return {};
  if (l1_pages_.dirty_bytes() != 0 || l2_pages_.dirty_bytes() != 0) return {};
  Header next = header_;
  next.features &= ~std::uint64_t{kNeedCheck};
  TRY(write_header(*storage_, next));
  TRY(storage_->flush());
  header_.features = next.features;
  return {};
}

Result<> Driver::close() {
  stop_watching();
  const FlushLock lock(flush_mutex_);
  TRY(flush_stages());
  TRY(cut_spare_end());
  return clear_need_check();
}

Result<> Driver::cut_spare_end() {
  const ChangeLock lock(mutex_);
  const std::uint64_t used_end = end_;
  std::ranges::sort(spare_, std::ranges::greater(), &HostRange::offset);
  for (const HostRange& room : spare_) {
    if (room.end().value == end_) end_ = room.offset.value;
  }
  spare_.clear();
  if (end_ == used_end) return {};
  // Room that was never linked would be a leak for ever: QED finds no space but at the end.
  TRY(storage_->truncate(end_));
  return storage_->flush();
}

void Driver::watch_for_idleness() {
  const MutexLock lock(idle_mutex_);
  if (idle_thread_.joinable() || stopping_) return;
  idle_thread_ = std::thread([this] {
    std::uint64_t seen = 0;
    while (true) {
      {
        const MutexLock idle(idle_mutex_);
        if (!stopping_) idle_changed_.wait_for(idle_mutex_, kIdle);
        if (stopping_) return;
      }
      const std::uint64_t now = allocations_.load();
      if (std::exchange(seen, now) != now) continue;
      const FlushLock flushing(flush_mutex_);
      // A failure is reported by the next flush too; the bit then stays, which only costs a check.
      if (flush_stages()) static_cast<void>(clear_need_check());
    }
  });
}

void Driver::stop_watching() {
  std::thread thread;
  {
    const MutexLock lock(idle_mutex_);
    stopping_ = true;
    thread.swap(idle_thread_);
  }
  idle_changed_.notify_all();
  if (thread.joinable()) thread.join();
}

Result<> Driver::resize(std::uint64_t size, std::uint64_t backing_size) {
  TRY(begin_writing());
  const std::uint64_t old_size = virtual_size_.load();
  if (size < old_size) return unsupported("QED images cannot shrink");
  {
    const SharedLock lock(mutex_);
    if (!is_aligned(size, 512) || size > header_.image_size_max()) {
      return fail(EFBIG, concat("size ", size, " is not a multiple of 512 up to ", header_.image_size_max()));
    }
  }
  // What a longer backing file would show has to read zero before it becomes visible.
  const std::uint64_t hidden_end = std::min(size, backing_size);
  for (std::uint64_t at = align_up(old_size, cluster_size_); at < hidden_end;) {
    const ChangeLock lock(mutex_);
    at += TRY(zero_entries({{at}, align_up(hidden_end, cluster_size_) - at}));
  }
  const FlushLock flushing(flush_mutex_);
  TRY(flush_stages());
  const ChangeLock lock(mutex_);
  Header next = header_;
  next.image_size = size;
  TRY(write_header(*storage_, next));
  TRY(storage_->flush());
  header_.image_size = size;
  virtual_size_.store(size);
  return {};
}

}  // namespace penstock::qed
