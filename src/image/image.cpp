// SPDX-License-Identifier: Apache-2.0
/// The layers as one flat disk: life, reading and flushing. write.cpp, zeroing.cpp, allocate.cpp, resize.cpp,
/// extents.cpp and layers.cpp hold the other request paths.
///
/// Locks, outer to inner, no two of one kind at a time:
///   1. chain_mutex_: which layers there are; whoever has a hold may look without it
///   2. a RangeLock hold: shared to read or map, exclusive to change; a resize holds everything exclusively
///   3. begin_mutex_: only until the first change was announced to the driver
///   4. a shard of the flattened map or of the unpacked clusters: never while a driver or storage is called
///   5. the driver's metadata mutex
/// Guest data moves under the hold alone. Nothing is shared by all requests but atomics that are only read.
#include "image/image_impl.hpp"

#include "base/log.hpp"
#include "image/named.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>

namespace penstock {

namespace {

// What is no path (a test's layer) stays as it is.
std::string absolute_path(const std::string& path) {
  std::error_code problem;
  if (!std::filesystem::exists(path, problem)) return path;
  const auto absolute = std::filesystem::absolute(path, problem);
  return problem ? path : absolute.string();
}

// The largest cluster of a layer that may be compressed; bounds what unpacking needs at least.
std::uint32_t packed_cluster_size(std::span<const Image::Layer> layers) {
  std::uint32_t size = 0;
  for (const auto& layer : layers) {
    if (layer.driver->capabilities().compressed) size = std::max(size, layer.driver->geometry().cluster_size);
  }
  return size;
}

}  // namespace

// chain.cpp gives the drivers' table caches three quarters of cache_bytes; the rest is shared here.
Image::Impl::Impl(std::vector<Layer> layers, std::vector<std::string> backing_paths, const ImageOptions& options)
    : layers_(std::move(layers)),
      backing_paths_(std::move(backing_paths)),
      name_(layers_.front().path),
      writable_(options.writable),
      detect_zeroes_(options.detect_zeroes),
      cache_bytes_(options.cache_bytes),
      geometry_(layers_.front().driver->geometry()),
      capabilities_(layers_.front().driver->capabilities()),
      alone_(layers_.size() == 1 && layers_.front().driver->backing().name.empty()),
      range_lock_(geometry_.cluster_size) {
  for (const auto& layer : layers_) absolute_paths_.push_back(absolute_path(layer.path));
  open_caches();
}

void Image::Impl::open_caches() {
  unpacked_.emplace(cache_bytes_ / 8, packed_cluster_size(layers_));
  backing_.emplace(layers_, *unpacked_, cache_bytes_ / 8);
}

std::uint64_t Image::Impl::cache_bytes() const {
  const SharedLock chain(chain_mutex_);
  return backing_->map_bytes() + unpacked_->bytes();
}

Image::Impl::~Impl() {
  if (closed_) return;
  if (auto closed = close(); !closed) log_line(LogLevel::error, closed.error().message());
}

std::uint64_t Image::Impl::virtual_size() const noexcept {
  return closed_.load(std::memory_order_relaxed) ? size_at_close_ : layers_.front().driver->virtual_size();
}

Result<> Image::Impl::check_request(GuestRange range) const {
  if (closed_.load(std::memory_order_relaxed)) return fail(EBADF, concat(printable(name_), ": the image is closed"));
  if (fits(range.offset.value, range.length, virtual_size())) return {};
  return fail(EINVAL, concat(printable(name_), ": ", range.length, " bytes at guest offset ", hex(range.offset.value),
                             " pass the end of the disk at ", hex(virtual_size())));
}

Result<> Image::Impl::check_change(GuestRange range) {
  TRY(check_request(range));
  if (!writable_) return fail(EROFS, concat(printable(name_), ": opened read-only"));
  return range.empty() ? Result<>() : begin_writing();
}

Result<> Image::Impl::begin_writing() {
  if (began_writing_.load(std::memory_order_acquire)) return {};
  const MutexLock lock(begin_mutex_);
  if (began_writing_.load(std::memory_order_relaxed)) return {};
  TRY(in_layer(top_layer(), top().begin_writing()));
  began_writing_.store(true, std::memory_order_release);
  return {};
}

Result<Mapping> Image::Impl::map_top(GuestRange range) {
  return in_layer(top_layer(), top().map(range));
}

Result<> Image::Impl::read(GuestOffset offset, std::span<std::byte> out) {
  const GuestRange range{offset, out.size()};
  TRY(check_request(range));
  const Activity::Request request(activity_);
  if (copy_on_read_.load(std::memory_order_relaxed)) copy_on_read(range);
  const RangeLock::Hold hold(range_lock_, range, RangeLock::Mode::shared);
  TRY(hold.taken());
  TRY(check_request(range));
  return read_held(range, out);
}

Result<> Image::Impl::read_held(GuestRange range, std::span<std::byte> out) {
  while (!range.empty()) {
    const auto mapping = TRY(map_top(range));
    TRY(read_mapped(mapping, range.offset, out.first(mapping.length)));
    range = {range.offset + mapping.length, range.length - mapping.length};
    out = out.subspan(mapping.length);
  }
  return {};
}

Result<> Image::Impl::read_mapped(const Mapping& mapping, GuestOffset at, std::span<std::byte> out) {
  switch (mapping.kind) {
    case MappingKind::data:
      return in_layer(top_layer(), mapping.storage->read(mapping.host_offset, out));
    case MappingKind::zero:
      std::memset(out.data(), 0, out.size());
      return {};
    case MappingKind::compressed:
      return in_layer(top_layer(), unpacked_->read(0, top(), mapping, at, out));
    case MappingKind::unallocated:
      break;
  }
  return backing_->read(at, out);
}

Result<> Image::Impl::flush() {
  const Activity::Request request(activity_);
  return flush_populated();
}

Result<> Image::Impl::flush_populated() {
  TRY(check_request({}));
  if (!writable_) return {};
  const Activity::Flush flush(activity_);
  return in_layer(top_layer(), top().flush());
}

Result<> Image::Impl::close() {
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
  layers_.clear();  // gives up the locks
  return result;
}

Image::Image(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Image::~Image() = default;

std::unique_ptr<Image> Image::from_driver(std::unique_ptr<FormatDriver> driver, std::string name, bool writable) {
  std::vector<Layer> layers;
  layers.push_back({std::move(name), std::move(driver)});
  return from_layers(std::move(layers), {.writable = writable});
}

std::unique_ptr<Image> Image::from_layers(std::vector<Layer> layers, const ImageOptions& options) {
  std::vector<std::string> backing_paths;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    backing_paths.push_back(i + 1 < layers.size() ? layers[i + 1].path : std::string());
  }
  return std::unique_ptr<Image>(
      new Image(std::make_unique<Impl>(std::move(layers), std::move(backing_paths), options)));
}

std::uint64_t Image::virtual_size() const noexcept {
  return impl_->virtual_size();
}
bool Image::writable() const noexcept {
  return impl_->writable();
}
const std::string& Image::name() const noexcept {
  return impl_->name();
}
Geometry Image::geometry() const noexcept {
  return impl_->geometry();
}
Result<> Image::read(GuestOffset offset, std::span<std::byte> out) {
  return impl_->read(offset, out);
}
Result<> Image::write(GuestOffset offset, std::span<const std::byte> in) {
  return impl_->write(offset, in);
}
Result<> Image::write_compressed(GuestOffset cluster, std::span<const std::byte> in) {
  return impl_->write_compressed(cluster, in);
}
Result<Populated> Image::populate(GuestRange range, unsigned base) {
  return impl_->populate(range, base, true);
}
Result<Image::Missing> Image::missing(GuestRange range, unsigned base) {
  return impl_->missing(range, base);
}
unsigned Image::layer_count() const noexcept {
  return impl_->layer_count();
}
Result<> Image::drop_backing(unsigned base) {
  return impl_->drop_backing(base);
}
void Image::set_copy_on_read(bool on) noexcept {
  impl_->set_copy_on_read(on);
}
bool Image::copies_on_read() const noexcept {
  return impl_->copies_on_read();
}
AutoStart Image::auto_start() const {
  return impl_->auto_start();
}
Result<> Image::set_auto_start(AutoStart start) {
  return impl_->set_auto_start(start);
}
ImageActivity Image::activity() const noexcept {
  return impl_->activity();
}
Result<> Image::make_empty() {
  return impl_->make_empty();
}
Result<> Image::change_backing(const BackingReference& backing) {
  return impl_->change_backing(backing);
}
Result<> Image::write_zeroes(GuestRange range, Zeroing zeroing, ZeroBytes bytes) {
  return impl_->write_zeroes(range, zeroing, bytes);
}
Result<> Image::discard(GuestRange range) {
  return impl_->discard(range);
}
Result<> Image::allocate(GuestRange range) {
  return impl_->allocate(range);
}
Result<> Image::flush() {
  return impl_->flush();
}
Result<> Image::flush_populated() {
  return impl_->flush_populated();
}
Result<> Image::resize(std::uint64_t size) {
  return impl_->resize(size);
}
Result<Extent> Image::extent(GuestRange want) {
  return impl_->extent(want);
}
Result<std::uint64_t> Image::allocated_bytes() {
  return impl_->allocated_bytes();
}
Result<std::vector<LayerInfo>> Image::layers() {
  return impl_->layers();
}
std::uint64_t Image::cache_bytes() const {
  return impl_->cache_bytes();
}
Result<> Image::close() {
  return impl_->close();
}

}  // namespace penstock
