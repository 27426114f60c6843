// SPDX-License-Identifier: Apache-2.0
#include "format/qed/qed_driver.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"
#include "format/qed/check.hpp"

#include <algorithm>

namespace penstock::qed {

namespace {

constexpr std::uint64_t kZeroCluster = 1;
constexpr std::size_t kPageBytes = 65536;

std::size_t page_bytes(const Header& header) {
  return std::min<std::size_t>(kPageBytes, header.table_bytes());
}

}  // namespace

Driver::Driver(std::shared_ptr<Storage> storage, Header header, bool writable, std::uint64_t cache_bytes)
    : storage_(std::move(storage)),
      cluster_size_(header.cluster_size),
      l2_span_(header.l2_span()),
      writable_(writable),
      cache_bytes_(cache_bytes),
      virtual_size_(header.image_size),
      header_(std::move(header)),
      hides_backing_(!header_.backing_name.empty()),
      tables_(header_.table_bytes()),
      l1_pages_(*storage_, page_bytes(header_), cache_bytes / 4),
      l2_pages_(*storage_, page_bytes(header_), cache_bytes) {}

Driver::~Driver() {
  stop_watching();
}

Result<std::unique_ptr<FormatDriver>> Driver::open(std::shared_ptr<Storage> storage, const FormatOpenOptions& options) {
  auto header = TRY(read_header(*storage));
  std::vector<HostRange> unused;
  if ((header.features & kNeedCheck) != 0 && options.writable) {
    unused = TRY(repair_after_crash(storage));
    header = TRY(read_header(*storage));
  }
  const std::uint64_t file_end = TRY(file_end_of(*storage, header));
  std::unique_ptr<Driver> driver(new Driver(storage, header, options.writable, options.table_cache_bytes));
  const FlushLock flush_lock(driver->flush_mutex_);
  const ChangeLock lock(driver->mutex_);
  driver->end_ = file_end;
  driver->covered_end_ = file_end;
  driver->spare_ = std::move(unused);
  static_cast<void>(driver->tables_.insert(header.l1_offset));
  if (!options.for_info) {
    TRY(visit_table(*storage, header, header.l1_offset, [&](std::uint64_t, std::uint64_t entry) -> Result<> {
      driver->mutex_.assert_held();
      // What leads to no table is reported when it is asked for; what leads to one twice is read but not changed.
      if (header.is_table_offset(entry, file_end)) static_cast<void>(driver->tables_.insert({entry}));
      return {};
    }));
  }
  return driver;
}

Capabilities Driver::capabilities() const noexcept {
  return {.compressed = false, .sparse_data = false, .resize = true, .always_in_place = false, .backing = true};
}

Result<FormatInfo> Driver::info() {
  const SharedLock lock(mutex_);
  FormatInfo info;
  info.cluster_size = cluster_size_;
  info.dirty = (header_.features & kNeedCheck) != 0;
  if ((header_.compatible & kCopyOnRead) != 0) info.items.push_back({"copy on read", "copy-on-read", true});
  if ((header_.compatible & kStream) != 0) info.items.push_back({"stream", "stream", true});
  return info;
}

Result<Driver::Slot> Driver::slot(HostOffset table, std::uint64_t index) {
  const std::uint64_t page = page_bytes(header_);
  const std::uint64_t at = index * 8;
  TableCache& pages = table == header_.l1_offset ? l1_pages_ : l2_pages_;
  return Slot{TRY(pages.load(table + align_down(at, page))), at % page};
}

std::uint64_t Driver::value_of(const Slot& slot) {
  return load_le<std::uint64_t>(slot.page->bytes(), slot.at);
}

void Driver::put(const Slot& slot, std::uint64_t value, Level level) {
  (level == Level::l1 ? l1_pages_ : l2_pages_).mark_dirty(slot.page, slot.at, 8);
  store_le(slot.page->mutable_bytes(), slot.at, value);
}

Result<> Driver::make_room(const Slot& slot) {
  const HostRange page{slot.page->offset(), slot.page->bytes().size()};
  if (has_room_.contains(page.offset.value)) return {};
  const auto made = storage_->allocate(page);
  if (!made && !made.error().is(EOPNOTSUPP)) return made;
  has_room_.insert(page.offset.value);
  return {};
}

Result<HostOffset> Driver::l2_table(std::uint64_t index) {
  const std::uint64_t table = value_of(TRY(slot(header_.l1_offset, index)));
  if (table == 0) return HostOffset{0};
  if (!header_.is_table_offset(table, end_) || table == header_.l1_offset.value) {
    return corrupt(concat("L1 entry ", index, ": ", hex(table), " is no table inside the file"));
  }
  return HostOffset{table};
}

Result<HostOffset> Driver::l2_table_for_change(std::uint64_t index) {
  const HostOffset table = TRY(l2_table(index));
  if (table.value != 0) {
    if (tables_.is_ambiguous(table)) {
      return corrupt(concat("L1 entry ", index, ": L2 table at host offset ", hex(table.value),
                            " overlaps another table; it is read but not changed"));
    }
    return table;
  }
  const auto l1 = TRY(slot(header_.l1_offset, index));
  TRY(make_room(l1));
  const HostOffset fresh = TRY(allocate(header_.table_bytes()));
  // Behind the end of the file all is zero: only pages with entries need to be written.
  static_cast<void>(tables_.insert(fresh));
  put(l1, fresh.value, Level::l1);
  return fresh;
}

Result<std::uint64_t> Driver::entry(HostOffset table, GuestOffset cluster) {
  const std::uint64_t index = l2_index(cluster);
  const std::uint64_t value = value_of(TRY(slot(table, index)));
  if (value <= kZeroCluster) return value;
  const bool usable = header_.is_data_offset(value, end_) && !tables_.overlaps({{value}, cluster_size_});
  if (usable) return value;
  return corrupt(concat("L2 table at host offset ", hex(table.value), ", entry ", index, ": ", hex(value),
                        header_.is_data_offset(value, end_) ? " overlaps a table" : " is no cluster of the file"));
}

/// How many entries from `index` on, at most `count`, are `value` (0 or 1). Page by page: a table may have 2^27 of
/// them. What cannot be read ends the run, and is reported when it is asked for.
std::uint64_t Driver::run_of(HostOffset table, std::uint64_t index, std::uint64_t count, std::uint64_t value) {
  std::uint64_t found = 0;
  while (found < count) {
    const auto first = slot(table, index + found);
    if (!first) break;
    const auto bytes = first->page->bytes();
    std::size_t at = first->at;
    for (; at < bytes.size() && found < count; at += 8, ++found) {
      if (load_le<std::uint64_t>(bytes, at) != value) return found;
    }
  }
  return found;
}

Result<Mapping> Driver::map(GuestRange want) {
  const SharedLock lock(mutex_);
  std::uint64_t index = l1_index(want.offset);
  const HostOffset table = TRY(l2_table(index));
  Mapping mapping;
  const std::uint64_t end = std::min(want.end().value, (index + 1) * l2_span_);
  if (table.value == 0) {
    std::uint64_t absent = (index + 1) * l2_span_;
    while (absent < want.end().value) {
      const auto next = l2_table(++index);
      if (!next || next->value != 0) break;
      absent += l2_span_;
    }
    mapping.length = std::min(want.end().value, absent) - want.offset.value;
    return mapping;
  }
  const GuestOffset cluster{align_down(want.offset.value, cluster_size_)};
  const std::uint64_t skip = want.offset - cluster;
  const std::uint64_t first = TRY(entry(table, cluster));
  mapping.length = cluster_size_ - skip;
  if (first == kZeroCluster) mapping.kind = MappingKind::zero;
  if (first > kZeroCluster) {
    mapping.kind = MappingKind::data;
    mapping.storage = storage_.get();
    mapping.host_offset = {first + skip};
    mapping.in_place = writable_;
  }
  if (first <= kZeroCluster && want.offset.value + mapping.length < end) {
    const std::uint64_t left = divide_up(end - want.offset.value - mapping.length, cluster_size_);
    mapping.length += run_of(table, l2_index(cluster) + 1, left, first) * cluster_size_;
  }
  std::uint64_t expected = first;
  while (first > kZeroCluster && want.offset.value + mapping.length < end) {
    expected += cluster_size_;
    const auto next = entry(table, want.offset + mapping.length);
    if (!next || *next != expected) break;
    mapping.length += cluster_size_;
  }
  mapping.length = std::min(mapping.length, want.length);
  return mapping;
}

Result<> Driver::begin_writing() {
  if (writing_.load(std::memory_order_acquire)) return {};
  const ChangeLock lock(mutex_);
  // Bytes behind the last whole cluster are nobody's; new clusters there must begin as zeroes.
  if (TRY(storage_->size()) > end_) {
    if (auto cut = storage_->truncate(end_); !cut && !cut.error().is(EOPNOTSUPP)) return cut;
  }
  if (header_.autoclear != 0) {
    Header next = header_;
    next.autoclear = 0;
    TRY(write_header(*storage_, next));
    TRY(storage_->flush());
    header_.autoclear = 0;
  }
  writing_.store(true, std::memory_order_release);
  return {};
}

}  // namespace penstock::qed
