// SPDX-License-Identifier: Apache-2.0
/// Where the bytes of the flat disk come from, as `qemu-img map` tells it.
#include "image/layered_image.hpp"
#include "image/named.hpp"

#include <algorithm>

namespace penstock {

namespace {

// A request for the whole of a fragmented or huge disk answers with what it has after so many steps.
constexpr unsigned kStepsMax = 4096;
constexpr std::uint64_t kPieceSizeMax = 1ULL << 60U;

bool joins(const Extent& before, const Extent& next) {
  if (before.kind != next.kind || before.depth != next.depth || before.present != next.present ||
      before.storage != next.storage) {
    return false;
  }
  return before.storage == nullptr || before.host_offset + before.guest.length == next.host_offset;
}

}  // namespace

Result<Extent> LayeredImage::extent(GuestRange want) {
  TRY(check_request(want));
  if (want.empty()) return fail(EINVAL, concat(printable(name_), ": an extent of no bytes"));
  Extent joined;
  // Pieces keep a hold short. They grow while each is one answer as a whole, or a disk of 2 EiB would take for ever.
  std::uint64_t piece_size = kPieceBytes;
  for (unsigned step = 0; !want.empty() && step < kStepsMax; ++step) {
    const auto boundary = align_down(want.offset.value, kPieceBytes) + piece_size;
    const GuestRange piece{want.offset, std::min(want.length, boundary - want.offset.value)};
    const RangeLock::Hold hold(range_lock_, piece, RangeLock::Mode::shared);
    TRY(hold.taken());
    TRY(check_request(piece));
    auto next = extent_once(piece);
    // What is sound before a damaged place is told first; the damage when it is asked for.
    if (!next && step > 0) break;
    if (!next) return next;
    if (step == 0) {
      joined = *next;
    } else if (joins(joined, *next)) {
      joined.guest.length += next->guest.length;
    } else {
      break;
    }
    piece_size = next->guest == piece ? std::min(piece_size * 2, kPieceSizeMax) : kPieceBytes;
    want = {next->guest.end(), want.length - next->guest.length};
  }
  return joined;
}

Result<Extent> LayeredImage::extent_once(GuestRange range) {
  const auto answer = TRY(ask_layers(chain_->layers(), 0, range));
  const auto& mapping = answer.mapping;
  Extent extent{.guest = {range.offset, mapping.length}, .depth = answer.depth, .present = true};
  extent.layer = chain_->layers()[answer.depth];
  switch (mapping.kind) {
    case MappingKind::unallocated:
      extent.present = false;
      // A layer that ends before answers nothing: the one above it is the lowest that could.
      if (answer.behind_end) extent.layer = chain_->layers()[--extent.depth];
      return extent;
    case MappingKind::compressed:
      extent.kind = ExtentKind::compressed;
      return extent;
    case MappingKind::zero:
      extent.kind = ExtentKind::zero;
      break;
    case MappingKind::data:
      extent.kind = ExtentKind::data;
      break;
  }
  extent.storage = mapping.storage;
  if (mapping.storage != nullptr) extent.host_offset = mapping.host_offset;
  if (mapping.kind == MappingKind::data && tells_holes(*extent.layer, *mapping.storage)) {
    const auto host = TRY(in_layer(*extent.layer, mapping.storage->extent(mapping.host_offset)));
    if (!host.data) extent.kind = ExtentKind::zero;
    if (host.length != 0) extent.guest.length = std::min(extent.guest.length, host.length);
  }
  return extent;
}

}  // namespace penstock
