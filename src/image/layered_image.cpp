// SPDX-License-Identifier: Apache-2.0
/// The layers as one flat disk: life, reading and flushing. write.cpp, zeroing.cpp, allocate.cpp, resize.cpp,
/// extents.cpp and layers.cpp hold the other request paths.
///
/// Locks, outer to inner, no two of one kind at a time:
///   1. a RangeLock hold: shared to read or map, exclusive to change; a resize, and whatever puts another chain in its
///      place, holds everything exclusively
///   2. begin_mutex_: only until the first change was announced to the driver
///   3. a shard of the flattened map or of the unpacked clusters: never while a driver or storage is called
///   4. the driver's metadata mutex
///   5. chain_mutex_: only to take the pointer to the layers, by who has no hold
/// Guest data moves under the hold alone. Nothing is shared by all requests but atomics that are only read.
#include "image/layered_image.hpp"

#include "base/log.hpp"
#include "image/named.hpp"

#include <algorithm>
#include <cstring>

namespace penstock {

LayeredImage::LayeredImage(Layers layers, const ImageOptions& options)
    : chain_(std::make_shared<Chain>(std::move(layers), options.cache_bytes)),
      top_(&(*chain_)[0]),
      name_(top_->shown),
      writable_(options.writable),
      detect_zeroes_(options.detect_zeroes),
      geometry_(top().geometry()),
      capabilities_(top().capabilities()),
      alone_(chain_->alone()),
      range_lock_(geometry_.cluster_size) {}

LayeredImage::~LayeredImage() {
  if (closed_) return;
  if (auto closed = close(); !closed) log_line(LogLevel::error, closed.error().message());
}

std::uint64_t LayeredImage::virtual_size() const noexcept {
  return closed_.load(std::memory_order_relaxed) ? size_at_close_ : top().virtual_size();
}

Result<> LayeredImage::check_request(GuestRange range) const {
  if (closed_.load(std::memory_order_relaxed)) return fail(EBADF, concat(printable(name_), ": the image is closed"));
  if (fits(range.offset.value, range.length, virtual_size())) return {};
  return fail(EINVAL, concat(printable(name_), ": ", range.length, " bytes at guest offset ", hex(range.offset.value),
                             " pass the end of the disk at ", hex(virtual_size())));
}

Result<> LayeredImage::check_change(GuestRange range) {
  TRY(check_request(range));
  if (!writable_) return fail(EROFS, concat(printable(name_), ": opened read-only"));
  return range.empty() ? Result<>() : begin_writing();
}

Result<> LayeredImage::begin_writing() {
  if (began_writing_.load(std::memory_order_acquire)) return {};
  const MutexLock lock(begin_mutex_);
  if (began_writing_.load(std::memory_order_relaxed)) return {};
  TRY(in_layer(top_layer(), top().begin_writing()));
  began_writing_.store(true, std::memory_order_release);
  return {};
}

Result<Mapping> LayeredImage::map_top(GuestRange range) {
  return in_layer(top_layer(), top().map(range));
}

Result<> LayeredImage::read(GuestOffset offset, std::span<std::byte> out) {
  const GuestRange range{offset, out.size()};
  TRY(check_request(range));
  const Activity::Request request(activity_);
  if (copy_on_read_.load(std::memory_order_relaxed)) copy_on_read(range);
  const RangeLock::Hold hold(range_lock_, range, RangeLock::Mode::shared);
  TRY(hold.taken());
  TRY(check_request(range));
  return read_held(range, out);
}

Result<> LayeredImage::read_held(GuestRange range, std::span<std::byte> out) {
  while (!range.empty()) {
    const auto mapping = TRY(map_top(range));
    TRY(read_mapped(mapping, range.offset, out.first(mapping.length)));
    range = {range.offset + mapping.length, range.length - mapping.length};
    out = out.subspan(mapping.length);
  }
  return {};
}

Result<> LayeredImage::read_mapped(const Mapping& mapping, GuestOffset at, std::span<std::byte> out) {
  switch (mapping.kind) {
    case MappingKind::data:
      return in_layer(top_layer(), mapping.storage->read(mapping.host_offset, out));
    case MappingKind::zero:
      std::memset(out.data(), 0, out.size());
      return {};
    case MappingKind::compressed:
      return in_layer(top_layer(), chain_->unpacked().read(0, top(), mapping, at, out));
    case MappingKind::unallocated:
      break;
  }
  return chain_->backing().read(at, out);
}

Result<> LayeredImage::flush() {
  const Activity::Request request(activity_);
  return flush_populated();
}

Result<> LayeredImage::flush_populated() {
  TRY(check_request({}));
  if (!writable_) return {};
  const Activity::Flush flush(activity_);
  return in_layer(top_layer(), top().flush());
}

Result<> LayeredImage::close() {
  TRY(check_request({}));
  size_at_close_ = virtual_size();
  closed_ = true;
  Result<> result;
  if (writable_) {
    result = in_layer(top_layer(), top().flush());
    // Also after a failed flush: the driver decides what it may still say on disk, and reports the failure again.
    auto closed = in_layer(top_layer(), top().close());
    if (result) result = std::move(closed);
  }
  // Gives up the locks.
  const MutexLock lock(chain_mutex_);
  chain_.reset();
  return result;
}

std::shared_ptr<Chain> LayeredImage::chain() const {
  const MutexLock lock(chain_mutex_);
  return chain_;
}

Result<std::shared_ptr<Chain>> LayeredImage::open_chain() const {
  TRY(check_request({}));
  auto found = chain();
  if (found) return found;
  return fail(EBADF, concat(printable(name_), ": the image is closed"));
}

std::unique_ptr<Image> make_image(Layers layers, const ImageOptions& options) {
  return std::make_unique<LayeredImage>(std::move(layers), options);
}

std::unique_ptr<Image> make_image(std::unique_ptr<FormatDriver> driver, std::string name, bool writable) {
  return make_image({make_layer(std::move(name), std::move(driver))}, {.writable = writable});
}

}  // namespace penstock
