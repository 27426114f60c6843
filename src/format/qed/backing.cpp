// SPDX-License-Identifier: Apache-2.0
// Naming another backing file, and what a mount is to start. Source: penstock-formats(5), "QED: backing file change".
#include "base/broken_order.hpp"
#include "base/text.hpp"
#include "format/qed/qed_driver.hpp"

namespace penstock::qed {

BackingReference Driver::backing() const {
  const SharedLock lock(mutex_);
  const bool raw = (header_.features & kNoProbe) != 0;
  return {header_.backing_name, raw && !header_.backing_name.empty() ? "raw" : "", !raw};
}

Result<> Driver::put_backing_name(Header& next) {
  const auto name = std::as_bytes(std::span(next.backing_name));
  const HostRange old{{header_.backing_offset}, header_.backing_name.empty() ? 0U : header_.backing_size};
  if (next.backing_name == header_.backing_name && !old.empty()) return {};
  const std::uint64_t room_end = next.first_byte();
  HostOffset place{kHeaderBytes};
  // Not over the old name: the header still leads to it.
  if (HostRange{place, name.size()}.overlaps(old)) place = old.end();
  if (!fits(place.value, name.size(), room_end)) {
    const bool ever = fits(kHeaderBytes, name.size(), room_end);
    return fail(ENOSPC, ever ? "the header has no room for the new name beside the old one; drop the backing file first"
                             : "the name of the backing file does not fit the header");
  }
  next.backing_offset = static_cast<std::uint32_t>(place.value);
  next.backing_size = static_cast<std::uint32_t>(name.size());
  TRY(storage_->write(place, name));
  return storage_->flush();
}

/// The header is 64 bytes of one sector, which a disk writes wholly or not at all: after a crash it names the old file
/// or the new one. The new name stands in bytes that the old header does not use, and is durable before.
Result<> Driver::change_backing(const BackingReference& backing) {
  TRY(begin_writing());
  if (backing.name.size() > kBackingNameMax) {
    return fail(ENAMETOOLONG, concat("backing file name is longer than ", kBackingNameMax, " bytes"));
  }
  if (backing.name.find('\0') != std::string::npos) return fail(EINVAL, "backing file name contains a NUL");
  const FlushLock flushing(flush_mutex_);
  // What was copied up must be linked for good before the file it came from is no longer asked.
  if (!broken(Order::finalise_before_flush)) TRY(flush_stages());
  const ChangeLock lock(mutex_);
  Header next = header_;
  next.backing_name = backing.name;
  next.features &= ~std::uint64_t{kBackingFile | kNoProbe};
  if (backing.name.empty()) {
    next.backing_offset = 0;
    next.backing_size = 0;
    // Nothing is left to copy: a mount that started to stream would be told that it cannot.
    next.compatible &= ~std::uint64_t{kCopyOnRead | kStream};
  } else {
    next.features |= kBackingFile;
    if (backing.format == "raw") next.features |= kNoProbe;
    TRY(put_backing_name(next));
  }
  TRY(write_header(*storage_, next));
  TRY(storage_->flush());
  header_ = std::move(next);
  hides_backing_ = hides_backing_ || !header_.backing_name.empty();
  return {};
}

AutoStart Driver::auto_start() const {
  const SharedLock lock(mutex_);
  return {(header_.compatible & kCopyOnRead) != 0, (header_.compatible & kStream) != 0};
}

Result<> Driver::set_auto_start(AutoStart start) {
  TRY(begin_writing());
  const FlushLock flushing(flush_mutex_);
  const ChangeLock lock(mutex_);
  Header next = header_;
  next.compatible &= ~std::uint64_t{kCopyOnRead | kStream};
  if (start.copy_on_read) next.compatible |= kCopyOnRead;
  if (start.stream) next.compatible |= kStream;
  TRY(write_header(*storage_, next));
  TRY(storage_->flush());
  header_ = std::move(next);
  return {};
}

}  // namespace penstock::qed
