// SPDX-License-Identifier: Apache-2.0
/// The end of provisioning: the top layer lets go of what it no longer needs.
#include "base/broken_order.hpp"
#include "image/image_impl.hpp"
#include "image/named.hpp"

namespace penstock {

namespace {

/// How the top layer names the layer at `path` that `above` names `stored`. A relative name means something else from
/// another directory. All paths are absolute; whether directories are the same is asked by name, as names are resolved.
std::string name_from(const std::string& top_path, const std::string& above_path, const std::string& stored,
                      const std::string& path) {
  const auto directory_of = [](const std::string& of) { return of.substr(0, of.rfind('/') + 1); };
  return directory_of(top_path) == directory_of(above_path) ? stored : path;
}

}  // namespace

Result<> Image::Impl::drop_backing(unsigned base) {
  TRY(check_change({{0}, 0}));
  TRY(begin_writing());
  // Most of the flush goes beside requests; what is left for the hold is what came meanwhile.
  if (!broken(Order::finalise_before_flush)) TRY(flush_populated());
  const ExclusiveLock chain(chain_mutex_);
  const RangeLock::Hold hold(range_lock_, RangeLock::everything(), RangeLock::Mode::exclusive);
  TRY(hold.taken());
  TRY(check_request({}));
  TRY(check_no_snapshots());
  if (base == 0) return fail(EINVAL, concat(printable(name_), ": an image cannot be its own backing file"));
  BackingReference next;
  if (base < layers_.size()) {
    const auto& above = layers_[base - 1];
    next = above.driver->backing();
    next.name = name_from(absolute_paths_.front(), absolute_paths_[base - 1], next.name, absolute_paths_[base]);
    // QED stores no format names; what other formats store must be named.
    if (next.format.empty()) next.format = layers_[base].driver->format();
  }
  {
    const Activity::Flush flush(activity_);
    TRY(in_layer(top_layer(), top().change_backing(next)));
  }
  // The driver now answers for an image on `next`: a discarded cluster, say, is no longer hidden by a zero cluster. So
  // from the header's change on nothing may be read from the layers that went.
  backing_.reset();
  unpacked_.reset();
  const auto end = std::min<std::size_t>(base, layers_.size());
  layers_.erase(layers_.begin() + 1, layers_.begin() + static_cast<std::ptrdiff_t>(end));
  const auto path_below = backing_paths_[end - 1];
  backing_paths_.erase(backing_paths_.begin(), backing_paths_.begin() + static_cast<std::ptrdiff_t>(end - 1));
  backing_paths_.front() = path_below;
  absolute_paths_.erase(absolute_paths_.begin() + 1, absolute_paths_.begin() + static_cast<std::ptrdiff_t>(end));
  open_caches();
  alone_ = layers_.size() == 1;
  return {};
}

/// Internal snapshots share the backing file with the disk, but are not copied into the image with it.
Result<> Image::Impl::check_no_snapshots() {
  if (layers_.size() == 1 || TRY(in_layer(top_layer(), top().info())).snapshots.empty()) return {};
  return fail(ENOTSUP, concat(printable(name_),
                              ": has internal snapshots, which would lose their backing file; delete them first "
                              "('qemu-img snapshot -d')"));
}

AutoStart Image::Impl::auto_start() {
  return closed_ ? AutoStart{} : top().auto_start();
}

Result<> Image::Impl::set_auto_start(AutoStart start) {
  TRY(check_change({{0}, 0}));
  TRY(begin_writing());
  return in_layer(top_layer(), top().set_auto_start(start));
}

}  // namespace penstock
