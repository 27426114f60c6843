// SPDX-License-Identifier: Apache-2.0
/// Changing the virtual size.
#include "image/image_impl.hpp"
#include "image/named.hpp"

namespace penstock {

Result<> Image::Impl::resize(std::uint64_t size) {
  TRY(check_request({}));
  if (!writable_) return fail(EROFS, concat(printable(name_), ": opened read-only"));
  if (!capabilities_.resize) {
    return unsupported(concat(printable(name_), ": images of format ", top().format(), " cannot be resized"));
  }
  TRY(begin_writing());
  const RangeLock::Hold hold(range_lock_, RangeLock::everything(), RangeLock::Mode::exclusive);
  const auto old_size = virtual_size();
  if (size == old_size) return {};
  const auto old_end = align_up(old_size, geometry_.cluster_size);
  if (size > old_size && old_size < old_end && !capabilities_.always_in_place) {
    // Behind the old end the last cluster may carry anything, or show a longer backing file. Zeroed first: until the
    // size is changed nobody sees it.
    TRY(zero_held({{old_size}, old_end - old_size}, {old_end}, Zeroing::may_unmap));
  }
  const auto backing_size = layers_.size() > 1 ? layers_[1].driver->virtual_size() : 0;
  return in_layer(top_layer(), top().resize(size, backing_size));
}

}  // namespace penstock
