// SPDX-License-Identifier: Apache-2.0
/// Setting host room aside, as fallocate(2) without flags does for a file.
#include "image/layered_image.hpp"
#include "image/named.hpp"

namespace penstock {

Result<> LayeredImage::allocate(GuestRange range) {
  TRY(check_change(range));
  return in_pieces(range, [this](GuestRange piece) { return allocate_held(piece); });
}

Result<> LayeredImage::allocate_held(GuestRange range) {
  while (!range.empty()) {
    const auto mapping = TRY(map_top(range));
    auto done = mapping.length;
    if (mapping.kind == MappingKind::data && mapping.in_place) {
      TRY(in_layer(top_layer(), mapping.storage->allocate({mapping.host_offset, mapping.length})));
    } else {
      // What reads as zero becomes room that was only set aside; everything else is copied into it, so that a later
      // write finds its room in place.
      done = TRY(store_new({range.offset, mapping.length}, {.range = {}, .bytes = {}, .allocate = true}));
    }
    range = {range.offset + done, range.length - done};
  }
  return {};
}

}  // namespace penstock
