// SPDX-License-Identifier: Apache-2.0
/// Changing the virtual size.
#include "image/layered_image.hpp"
#include "image/named.hpp"

namespace penstock {

Result<> LayeredImage::resize(std::uint64_t size) {
  TRY(check_request({}));
  if (!writable_) return fail(EROFS, concat(printable(name_), ": opened read-only"));
  if (!capabilities_.resize) {
    return unsupported(concat(printable(name_), ": images of format ", top().format(), " cannot be resized"));
  }
  TRY(begin_writing());
  const RangeLock::Hold hold(range_lock_, RangeLock::everything(), RangeLock::Mode::exclusive);
  TRY(hold.taken());
  const auto old_size = virtual_size();
  if (size == old_size) return {};
  const auto old_end = align_up(old_size, geometry_.cluster_size);
  if (size > old_size && old_size < old_end && capabilities_.sparse_data) {
    TRY(keep_last_cluster(old_end));
  } else if (size > old_size && old_size < old_end) {
    // Behind the old end the last cluster may carry anything, or show a longer backing file. Zeroed first: until the
    // size is changed nobody sees it.
    TRY(zero_held({{old_size}, old_end - old_size}, {old_end}, Zeroing::may_unmap));
  }
  const auto backing_size = chain_->size() > 1 ? (*chain_)[1].driver->virtual_size() : 0;
  return in_layer(top_layer(), top().resize(size, backing_size));
}

/// The file that holds the data ends where the disk ends, and grows with zeroes; but a last cluster that is not there
/// would show a longer backing file.
Result<> LayeredImage::keep_last_cluster(std::uint64_t cluster_end) {
  const GuestOffset first{cluster_end - geometry_.cluster_size};
  std::vector<std::byte> bytes(virtual_size() - first.value);
  const GuestRange range{first, bytes.size()};
  if (TRY(map_top(range)).kind != MappingKind::unallocated) return {};
  TRY(read_held(range, bytes));
  return write_held(range, bytes);
}

}  // namespace penstock
