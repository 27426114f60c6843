// SPDX-License-Identifier: Apache-2.0
#include "format/add_cow/add_cow_driver.hpp"

#include "base/broken_order.hpp"
#include "base/endian.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <bit>

namespace penstock::add_cow {

namespace {

constexpr std::uint64_t kPageBytes = 4096;  // divides every bitmap offset
constexpr std::uint64_t kPageBits = kPageBytes * 8;

constexpr std::byte bit_of(std::uint64_t cluster) {
  return std::byte{1} << (cluster % 8);
}

}  // namespace

Driver::Driver(std::shared_ptr<Storage> storage, std::shared_ptr<Storage> data, Header header, std::uint64_t size,
               const FormatOpenOptions& options)
    : storage_(std::move(storage)),
      data_(std::move(data)),
      header_(std::move(header)),
      cluster_size_(header_.cluster_size()),
      writable_(options.writable),
      virtual_size_(size),
      backing_(header_.backing),
      compatible_(header_.compatible),
      all_allocated_(header_.all_allocated()),
      pages_(*storage_, kPageBytes, options.table_cache_bytes) {}

Result<std::unique_ptr<FormatDriver>> Driver::open(std::shared_ptr<Storage> storage, const FormatOpenOptions& options) {
  auto header = TRY(read_header(*storage));
  if (!options.open_file) {
    return fail(EACCES, concat("keeps its data in '", printable(header.image_name), "', which was not allowed"));
  }
  auto data = options.open_file(header.image_name, options.writable && !options.for_info);
  if (!data) return Failure(data.error().in(concat("image file '", printable(header.image_name), "'")));
  const std::uint64_t size = TRY((*data)->size());
  TRY(header.check_size(size));
  const std::uint64_t bitmap_end = header.bitmap_offset() + divide_up(header.clusters(size), 8);
  if (!header.all_allocated() && !options.for_info && TRY(storage->size()) < bitmap_end) {
    return corrupt(concat("the bitmap is cut short: the file has ", TRY(storage->size()), " bytes, ", bitmap_end,
                          " are needed; run penstock check"));
  }
  return std::unique_ptr<FormatDriver>(
      new Driver(std::move(storage), std::move(*data), std::move(header), size, options));
}

Capabilities Driver::capabilities() const noexcept {
  return {.compressed = false,
          .sparse_data = true,
          .resize = true,
          .always_in_place = all_allocated_.load(),
          .must_fill = true,
          .backing = true};
}

Result<FormatInfo> Driver::info() {
  FormatInfo info;
  info.cluster_size = cluster_size_;
  info.items = {{"image file", "image-file", header_.image_name},
                {"image file format", "image-file-format", header_.image_format},
                {"all allocated", "all-allocated", all_allocated_.load()}};
  const AutoStart start = auto_start();
  if (start.copy_on_read) info.items.push_back({"copy on read", "copy-on-read", true});
  if (start.stream) info.items.push_back({"stream", "stream", true});
  return info;
}

Result<TableHandle> Driver::page_of(std::uint64_t cluster) {
  return pages_.load({header_.bitmap_offset() + cluster / kPageBits * kPageBytes});
}

Result<bool> Driver::is_set(std::uint64_t cluster) {
  const auto page = TRY(page_of(cluster));
  return (page->bytes()[cluster % kPageBits / 8] & bit_of(cluster)) != std::byte{0};
}

/// The first cluster from `cluster` on, at most `end`, whose bit is not `present`. Whole words at a time: the bitmap of
/// a large disk is long.
Result<std::uint64_t> Driver::run_end(std::uint64_t cluster, std::uint64_t end, bool present) {
  constexpr std::uint64_t kWordBits = 64;
  const std::uint64_t same = present ? ~0ULL : 0;
  while (cluster < end) {
    const auto page = TRY(page_of(cluster));
    const std::uint64_t page_end = std::min(end, align_down(cluster, kPageBits) + kPageBits);
    while (cluster < page_end) {
      const std::size_t word = cluster % kPageBits / kWordBits * 8;
      const auto bits = load_le<std::uint64_t>(page->bytes(), word) ^ same;
      const std::uint64_t rest = bits >> (cluster % kWordBits);
      if (rest != 0) return std::min(end, cluster + static_cast<unsigned>(std::countr_zero(rest)));
      cluster = std::min(page_end, align_down(cluster, kWordBits) + kWordBits);
    }
  }
  return end;
}

Result<> Driver::put_bits(std::uint64_t first, std::uint64_t count, bool value) {
  for (std::uint64_t cluster = first; cluster < first + count; ++cluster) {
    const auto page = TRY(page_of(cluster));
    const std::size_t at = cluster % kPageBits / 8;
    pages_.mark_dirty(page, at, 1);
    std::byte& byte = page->mutable_bytes()[at];
    byte = value ? byte | bit_of(cluster) : byte & ~bit_of(cluster);
  }
  return {};
}

Result<Mapping> Driver::map(GuestRange want) {
  Mapping mapping{.kind = MappingKind::data,
                  .length = want.length,
                  .storage = data_.get(),
                  .host_offset = {want.offset.value},
                  .in_place = writable_};
  if (all_allocated_.load()) return mapping;
  const SharedLock lock(mutex_);
  const std::uint64_t first = want.offset.value / cluster_size_;
  const std::uint64_t end = divide_up(want.end().value, cluster_size_);
  const bool present = TRY(is_set(first));
  const std::uint64_t cluster = TRY(run_end(first, end, present));
  mapping.length = std::min(want.end().value, cluster * cluster_size_) - want.offset.value;
  if (!present) return Mapping{.kind = MappingKind::unallocated, .length = mapping.length};
  return mapping;
}

Result<Reservation> Driver::reserve(GuestRange want) {
  const SharedLock lock(mutex_);
  const std::uint64_t first = want.offset.value / cluster_size_;
  const std::uint64_t end = divide_up(std::min(want.end().value, virtual_size_.load()), cluster_size_);
  const std::uint64_t cluster = TRY(run_end(first, end, false));
  if (cluster == first) return fail(EINVAL, "the cluster has its room already");
  // Clipped at the end of the disk: the raw file's length is the disk's, and must not grow.
  const std::uint64_t begin = first * cluster_size_;
  const GuestRange range{{begin}, std::min(cluster * cluster_size_, virtual_size_.load()) - begin};
  // Where the raw file has a hole there is nothing to clear: zeroes stay holes, whatever the size of the cluster.
  const auto hole = data_->extent({begin});
  const bool reads_zero = hole && !hole->data && hole->length >= range.length;
  return Reservation(range, {{range, data_.get(), {begin}, reads_zero}}, nullptr);
}

Result<> Driver::publish(Reservation filled) {
  const ChangeLock lock(mutex_);
  const GuestRange range = filled.range();
  const std::uint64_t first = range.offset.value / cluster_size_;
  return put_bits(first, divide_up(range.end().value, cluster_size_) - first, true);
}

Result<std::uint64_t> Driver::publish_zero(GuestRange /*units*/, Zeroing /*zeroing*/) {
  return unsupported("add-cow has no zero clusters: zeroes are holes of the raw file");
}

Result<> Driver::discard(GuestRange range) {
  GuestRange left = range.intersection({{0}, virtual_size_.load()});
  while (!left.empty()) {
    const Mapping mapping = TRY(map(left));
    if (mapping.kind == MappingKind::data) TRY(data_->discard({mapping.host_offset, mapping.length}));
    left = {left.offset + mapping.length, left.length - mapping.length};
  }
  return {};
}

Result<> Driver::flush() {
  const FlushLock lock(flush_mutex_);
  return flush_stages();
}

Result<> Driver::flush_stages() {
  if (!header_to_restore_.empty()) {
    TRY(storage_->write({0}, header_to_restore_));
    TRY(storage_->flush());
    header_to_restore_.clear();
  }
  std::vector<TableCache::Copy> copies;
  {
    const ChangeLock lock(mutex_);
    copies = pages_.copy_dirty();
  }
  const auto outcome = [&]() -> Result<> {
    if (!broken(Order::bit_before_data)) TRY(data_->flush());
    if (!copies.empty()) {
      for (const auto& copy : copies) TRY(storage_->write(copy.table->offset() + copy.from, copy.bytes));
      TRY(storage_->flush());
    }
    return broken(Order::bit_before_data) ? data_->flush() : Result<>();
  }();
  const ChangeLock lock(mutex_);
  for (const auto& copy : copies) pages_.finish(copy, outcome.has_value());
  return outcome;
}

Result<> Driver::resize(std::uint64_t size, std::uint64_t backing_size) {
  TRY(header_.check_size(size));
  const FlushLock flushing(flush_mutex_);
  TRY(flush_stages());
  const std::uint64_t old_size = virtual_size_.load();
  const std::uint64_t old_clusters = header_.clusters(old_size);
  const std::uint64_t clusters = header_.clusters(size);
  const HostOffset length{header_.bitmap_offset() + header_.bitmap_bytes(size)};
  if (size > old_size) {
    if (TRY(storage_->size()) < length.value) TRY(storage_->truncate(length.value));
    {
      // New clusters read zero: of the raw file where a longer backing file would show, of nothing elsewhere.
      const ChangeLock lock(mutex_);
      const std::uint64_t hidden = std::clamp(divide_up(backing_size, cluster_size_), old_clusters, clusters);
      const std::uint64_t present = all_allocated_.load() ? clusters : hidden;
      TRY(put_bits(old_clusters, present - old_clusters, true));
      TRY(put_bits(present, clusters - present, false));
    }
    TRY(flush_stages());
    TRY(data_->truncate(size));
    virtual_size_.store(size);
  } else {
    TRY(data_->truncate(size));
    // From here on the disk has this size, whatever else fails: it is that of the raw file.
    virtual_size_.store(size);
    TRY(data_->flush());
    {
      const ChangeLock lock(mutex_);
      TRY(put_bits(clusters, old_clusters - clusters, false));
    }
    TRY(flush_stages());
    TRY(storage_->truncate(length.value));
    TRY(storage_->flush());
  }
  return data_->flush();
}

}  // namespace penstock::add_cow
