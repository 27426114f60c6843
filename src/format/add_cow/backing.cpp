// SPDX-License-Identifier: Apache-2.0
// Completing the raw file, naming another backing file, and what a mount is to start. Source: penstock-formats(5),
// "add-cow: completion".
#include "base/broken_order.hpp"
#include "base/endian.hpp"
#include "base/text.hpp"
#include "format/add_cow/add_cow_driver.hpp"

#include <array>

namespace penstock::add_cow {

namespace {

HostRange name_range(std::span<const std::byte> header, std::size_t field) {
  return {{load_le<std::uint32_t>(header, field)}, load_le<std::uint32_t>(header, field + 4)};
}

/// Bytes for a name of `length` that no name of the header on disk uses.
Result<HostRange> free_room(std::span<const std::byte> header, std::uint64_t length) {
  const HostRange backing = name_range(header, kBackingNameField);
  const HostRange image = name_range(header, kImageNameField);
  for (const std::uint64_t place : {std::uint64_t{kFixedBytes}, image.end().value, backing.end().value}) {
    const HostRange room{{place}, length};
    if (place < kFixedBytes || !fits(place, length, header.size())) continue;
    if (!room.overlaps(backing) && !room.overlaps(image)) return room;
  }
  return fail(ENOSPC, "the header has no room for the name of the backing file");
}

Result<> check_reference(const BackingReference& backing, std::string_view image_name) {
  if (backing.name.empty()) return {};
  if (backing.format.empty()) return fail(EINVAL, "add-cow stores the format of its backing file: it must be given");
  if (backing.format.size() >= kFormatBytes) return fail(ENOTSUP, "the backing format's name is too long");
  if (backing.name.find('\0') != std::string::npos) return fail(EINVAL, "backing file name contains a NUL");
  if (backing.name == image_name) return fail(EINVAL, "the backing file is the image file");
  return {};
}

}  // namespace

BackingReference Driver::backing() const {
  // With all clusters in the raw file, nothing is asked of the backing file: it need not even exist.
  if (all_allocated_.load()) return {};
  const SharedLock lock(mutex_);
  return backing_;
}

Result<bool> Driver::all_bits_set() {
  const std::uint64_t clusters = header_.clusters(virtual_size_.load());
  return TRY(run_end(0, clusters, true)) == clusters;
}

/// Offset, size, format and flags lie in one sector, which a disk writes wholly or not at all: after a crash the old
/// file is named or the new one, and the flag that the raw file is complete comes with the loss of the name. A new name
/// stands in bytes that no name uses, and is durable before.
Result<> Driver::change_backing(const BackingReference& backing) {
  TRY(check_reference(backing, header_.image_name));
  const FlushLock flushing(flush_mutex_);
  if (!broken(Order::finalise_before_flush)) TRY(flush_stages());
  const ChangeLock lock(mutex_);
  if (!backing.name.empty() && all_allocated_.load()) {
    return fail(EINVAL, "the image file is complete; a backing file would never be asked");
  }
  std::vector<std::byte> area(header_.bitmap_offset());
  TRY(storage_->read({0}, area));
  const HostRange old_name = name_range(area, kBackingNameField);
  HostRange name{};
  std::uint64_t compatible = compatible_;
  if (backing.name.empty()) {
    // Nothing is left to copy: a mount that started to stream would be told that it cannot.
    compatible &= ~std::uint64_t{kCopyOnRead | kStream};
    if (TRY(all_bits_set())) compatible |= kAllAllocated;
  } else {
    name = TRY(free_room(area, backing.name.size()));
    TRY(storage_->write(name.offset, std::as_bytes(std::span(backing.name))));
    TRY(storage_->flush());
  }
  const auto fixed = std::span(area).first(kFixedBytes);
  // Should the write fail, nobody knows whether it happened: the next flush puts back what was there.
  header_to_restore_.assign(fixed.begin(), fixed.end());
  store_le(fixed, kBackingNameField, static_cast<std::uint32_t>(name.offset.value));
  store_le(fixed, kBackingNameField + 4, static_cast<std::uint32_t>(name.length));
  store_le(fixed, kCompatibleField.value, compatible);
  const auto format = fixed.subspan(kBackingFormatField, kFormatBytes);
  std::ranges::fill(format, std::byte{0});
  if (!backing.name.empty()) std::ranges::copy(std::as_bytes(std::span(backing.format)), format.begin());
  TRY(storage_->write({0}, fixed));
  header_to_restore_.clear();
  TRY(storage_->flush());
  backing_ = backing.name.empty() ? BackingReference{} : backing;
  compatible_ = compatible;
  all_allocated_.store((compatible & kAllAllocated) != 0);
  // Every byte that belongs to no name is zero. Lost in a crash this is for the check to do.
  if (old_name.empty()) return {};
  const std::vector<std::byte> zeroes(old_name.length);
  const HostRange image = name_range(area, kImageNameField);
  if (old_name.overlaps(image)) return {};
  TRY(storage_->write(old_name.offset, zeroes));
  return storage_->flush();
}

AutoStart Driver::auto_start() const {
  const SharedLock lock(mutex_);
  return {(compatible_ & kCopyOnRead) != 0, (compatible_ & kStream) != 0};
}

Result<> Driver::set_auto_start(AutoStart start) {
  const FlushLock flushing(flush_mutex_);
  const ChangeLock lock(mutex_);
  std::uint64_t compatible = compatible_ & ~std::uint64_t{kCopyOnRead | kStream};
  if (start.copy_on_read) compatible |= kCopyOnRead;
  if (start.stream) compatible |= kStream;
  TRY(write_compatible(*storage_, compatible));
  TRY(storage_->flush());
  compatible_ = compatible;
  return {};
}

}  // namespace penstock::add_cow
