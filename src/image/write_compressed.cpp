// SPDX-License-Identifier: Apache-2.0
/// Storing compressed clusters, for images that are being made.
#include "image/layered_image.hpp"
#include "image/named.hpp"

#include <algorithm>

namespace penstock {

Result<> LayeredImage::write_compressed(GuestOffset cluster, std::span<const std::byte> in) {
  const GuestRange range{cluster, in.size()};
  const auto size = geometry_.cluster_size;
  TRY(check_change(range));
  const bool whole = in.size() == size || (in.size() < size && range.end().value == virtual_size());
  if (!is_aligned(cluster.value, size) || !whole) {
    return fail(EINVAL, concat(printable(name_), ": ", in.size(), " bytes at guest offset ", hex(cluster.value),
                               " are not one cluster of ", size, " bytes"));
  }
  if (!capabilities_.pack) return write(cluster, in);
  std::vector<std::byte> padded;
  if (in.size() < size) {
    padded.resize(size);
    std::ranges::copy(in, padded.begin());
  }
  // Without the hold: compressing takes longer than everything else, and needs nothing but the bytes.
  const auto packed = TRY(in_layer(top_layer(), top().pack(padded.empty() ? in : std::span<const std::byte>(padded))));
  if (!packed) return write(cluster, in);
  const RangeLock::Hold hold(range_lock_, range, RangeLock::Mode::exclusive);
  TRY(hold.taken());
  TRY(check_request(range));
  auto room = TRY(in_layer(top_layer(), top().reserve_packed(cluster, static_cast<std::uint32_t>(packed->size()))));
  const auto& run = room.runs().front();
  TRY(in_layer(top_layer(), run.storage->write(run.host_offset, *packed)));
  return in_layer(top_layer(), top().publish(std::move(room)));
}

}  // namespace penstock
