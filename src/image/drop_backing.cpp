// SPDX-License-Identifier: Apache-2.0
/// The end of provisioning: the top layer lets go of what it no longer needs.
#include "image/image_impl.hpp"
#include "image/named.hpp"

#include <filesystem>

namespace penstock {

namespace {

/// How the top layer names the layer that `above` names `stored`, resolved to `path`. A relative name means something
/// else from another directory.
std::string name_from(const std::string& top_path, const std::string& above_path, const std::string& stored,
                      const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code problem;
  const auto directory_of = [&problem](const std::string& of) {
    return fs::weakly_canonical(fs::absolute(of, problem), problem).parent_path();
  };
  if (directory_of(top_path) == directory_of(above_path) || path.empty()) return stored;
  const auto absolute = fs::absolute(path, problem);
  return problem ? stored : absolute.string();
}

}  // namespace

Result<> Image::Impl::drop_backing(unsigned base) {
  TRY(check_change({{0}, 0}));
  TRY(begin_writing());
  // Most of the flush goes beside requests; what is left for the hold is what came meanwhile.
  TRY(in_layer(top_layer(), top().flush()));
  const ExclusiveLock chain(chain_mutex_);
  const RangeLock::Hold hold(range_lock_, RangeLock::everything(), RangeLock::Mode::exclusive);
  TRY(check_request({}));
  if (base == 0) return fail(EINVAL, concat(printable(name_), ": an image cannot be its own backing file"));
  BackingReference next;
  if (base < layers_.size()) {
    const auto& above = layers_[base - 1];
    next = above.driver->backing();
    next.name = name_from(layers_.front().path, above.path, next.name, backing_paths_[base - 1]);
    // QED stores no format names; what other formats store must be named.
    if (next.format.empty()) next.format = layers_[base].driver->format();
  }
  TRY(in_layer(top_layer(), top().change_backing(next)));
  // The driver now answers for an image on `next`: a discarded cluster, say, is no longer hidden by a zero cluster. So
  // from the header's change on nothing may be read from the layers that went.
  backing_.reset();
  unpacked_.reset();
  const auto end = std::min<std::size_t>(base, layers_.size());
  layers_.erase(layers_.begin() + 1, layers_.begin() + static_cast<std::ptrdiff_t>(end));
  const auto path_below = backing_paths_[end - 1];
  backing_paths_.erase(backing_paths_.begin(), backing_paths_.begin() + static_cast<std::ptrdiff_t>(end - 1));
  backing_paths_.front() = path_below;
  open_caches();
  alone_ = layers_.size() == 1;
  return {};
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
