// SPDX-License-Identifier: Apache-2.0
/// The end of provisioning: the top layer lets go of what it no longer needs.
#include "base/broken_order.hpp"
#include "image/layered_image.hpp"
#include "image/named.hpp"

#include <utility>

namespace penstock {

namespace {

/// How the top layer names `below`, which `above` names `stored`. A relative name means something else from another
/// place.
std::string name_from(const Layer& top, const Layer& above, const std::string& stored, const Layer& below) {
  const auto place = [](const Layer& layer) {
    const auto& path = layer.files.front()->facts().local_path;
    return path.empty() ? layer.name : ImageName{.address = path};
  };
  const auto from_above = resolve_name(place(above), stored);
  const auto from_top = resolve_name(place(top), stored);
  if (from_above && from_top && from_above->text() == from_top->text()) return stored;
  return place(below).text();
}

}  // namespace

Result<> LayeredImage::drop_backing(const Layer* base) {
  TRY(check_change({{0}, 0}));
  TRY(begin_writing());
  // Most of the flush goes beside requests; what is left for the hold is what came meanwhile.
  if (!broken(Order::finalise_before_flush)) TRY(flush_populated());
  std::shared_ptr<Chain> before;  // let go of after the hold
  const RangeLock::Hold hold(range_lock_, RangeLock::everything(), RangeLock::Mode::exclusive);
  TRY(hold.taken());
  TRY(check_request({}));
  TRY(check_no_snapshots());
  const auto depth = TRY(chain_->depth_of(base));
  if (depth == 0) return fail(EINVAL, concat(printable(name_), ": an image cannot be its own backing file"));
  BackingReference reference;
  if (depth < chain_->size()) {
    const auto& above = (*chain_)[depth - 1];
    const auto& below = (*chain_)[depth];
    reference = above.driver->backing();
    reference.name = name_from(top_layer(), above, reference.name, below);
    // QED stores no format names; what other formats store must be named.
    if (reference.format.empty()) reference.format = below.driver->format();
  }
  // The driver then answers for an image on that file: a discarded cluster, say, is no longer hidden by a zero cluster.
  // So from the header's change on nothing may be read through the layers that go; and nothing may fail behind it.
  auto next = chain_->on_base(depth);
  {
    const Activity::Flush flush(activity_);
    TRY(in_layer(top_layer(), top().change_backing(reference)));
  }
  alone_ = next->alone();
  const MutexLock lock(chain_mutex_);
  before = std::exchange(chain_, std::move(next));
  return {};
}

/// Internal snapshots share the backing file with the disk, but are not copied into the image with it.
Result<> LayeredImage::check_no_snapshots() {
  if (chain_->size() == 1 || TRY(in_layer(top_layer(), top().info())).snapshots.empty()) return {};
  return fail(ENOTSUP, concat(printable(name_),
                              ": has internal snapshots, which would lose their backing file; delete them first "
                              "('qemu-img snapshot -d')"));
}

AutoStart LayeredImage::auto_start() const {
  return closed_ ? AutoStart{} : top().auto_start();
}

Result<> LayeredImage::set_auto_start(AutoStart start) {
  TRY(check_change({{0}, 0}));
  TRY(begin_writing());
  return in_layer(top_layer(), top().set_auto_start(start));
}

}  // namespace penstock
