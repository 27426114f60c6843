// SPDX-License-Identifier: Apache-2.0
/// Write zeroes and discard: by the map where the format can, by zero bytes where it cannot.
#include "image/layered_image.hpp"
#include "image/named.hpp"

#include <algorithm>

namespace penstock {

/// How much of the start of `range` nobody has ever written: no backing file shows there, so that it is zero and stays
/// so. Told from absent tables, many clusters at a time.
Result<std::uint64_t> LayeredImage::untouched(GuestRange range) {
  if (!alone_) return 0;
  std::uint64_t length = 0;
  while (length < range.length) {
    const auto mapping = TRY(map_top({range.offset + length, range.length - length}));
    if (mapping.kind != MappingKind::unallocated) break;
    length += mapping.length;
  }
  return length;
}

Result<> LayeredImage::write_zeroes(GuestRange range, Zeroing zeroing, ZeroBytes bytes) {
  TRY(check_change(range));
  const Activity::Request request(activity_);
  return in_pieces(range, [&](GuestRange piece) { return zero_held(piece, whole_units_end(piece), zeroing, bytes); });
}

/// The last, partial cluster of the disk counts as whole: behind the end there is nothing to keep.
GuestOffset LayeredImage::whole_units_end(GuestRange range) const {
  const auto end = range.end().value;
  return {end == virtual_size() ? align_up(end, geometry_.cluster_size) : end};
}

/// `end`: how far whole units may reach, range.end() or behind it.
Result<> LayeredImage::zero_held(GuestRange range, GuestOffset end, Zeroing zeroing, ZeroBytes bytes) {
  const std::uint64_t unit = geometry_.allocation_unit;
  const auto units_end = align_down(end.value, unit);
  auto at = range.offset;
  while (at < range.end()) {
    auto part_end = range.end().value;
    if (!capabilities_.always_in_place) {
      const bool whole_units = is_aligned(at.value, unit) && at.value < units_end;
      if (whole_units) {
        const auto skipped = TRY(untouched({at, units_end - at.value}));
        if (skipped != 0) {
          at += skipped;
          continue;
        }
        auto zeroed = in_layer(top_layer(), top().publish_zero({at, units_end - at.value}, zeroing));
        if (!zeroed && !zeroed.error().is(EOPNOTSUPP)) return Failure(std::move(zeroed).error());
        if (zeroed) {
          at += *zeroed;
          continue;
        }
      } else {
        part_end = std::min(part_end, align_down(at.value, unit) + unit);
      }
    }
    const GuestRange part{at, part_end - at.value};
    at += TRY(bytes == ZeroBytes::never ? zero_without_bytes(part, zeroing) : zero_part(part, zeroing));
  }
  return {};
}

/// Makes the start of `part` read as zero without the format's help; bytes of it that are done.
Result<std::uint64_t> LayeredImage::zero_part(GuestRange part, Zeroing zeroing) {
  const auto mapping = TRY(map_top(part));
  part.length = mapping.length;
  if (mapping.kind == MappingKind::zero) return part.length;
  if (mapping.kind == MappingKind::data && mapping.in_place) {
    TRY(in_layer(top_layer(), put_zeroes(*mapping.storage, {mapping.host_offset, part.length}, zeroing)));
    return part.length;
  }
  if (mapping.kind == MappingKind::unallocated) {
    const auto below = TRY(chain_->backing().content(part));
    part.length = below.length;
    if (below.zero) return part.length;
    if (TRY(zero_unit_around(part, zeroing))) return part.length;
  }
  return store_new(part, {.range = part, .bytes = {}, .zeroing = zeroing});
}

Result<std::uint64_t> LayeredImage::zero_without_bytes(GuestRange part, Zeroing zeroing) {
  const auto mapping = TRY(map_top(part));
  if (mapping.kind == MappingKind::zero) return mapping.length;
  if (capabilities_.always_in_place) {
    TRY(in_layer(top_layer(), mapping.storage->write_zeroes({mapping.host_offset, mapping.length}, zeroing)));
    return mapping.length;
  }
  return unsupported(concat(printable(name_), ": format ", top().format(), " cannot represent zeroes at guest offset ",
                            hex(part.offset.value), " without writing them"));
}

/// A part of one unit that shows the backing file, when the rest of the unit reads zero anyway: the whole becomes a
/// zero unit, without host room. False: that is not so, or the format has none.
Result<bool> LayeredImage::zero_unit_around(GuestRange part, Zeroing zeroing) {
  const auto unit = widen(part, geometry_.allocation_unit);
  if (unit.length != geometry_.allocation_unit) return false;
  if (!TRY(old_reads_zero({unit.offset, part.offset - unit.offset}))) return false;
  if (!TRY(old_reads_zero({part.end(), unit.end() - part.end()}))) return false;
  const auto zeroed = in_layer(top_layer(), top().publish_zero(unit, zeroing));
  if (!zeroed && !zeroed.error().is(EOPNOTSUPP)) return Failure(zeroed.error());
  return zeroed.has_value();
}

Result<> LayeredImage::discard(GuestRange range) {
  TRY(check_change(range));
  const Activity::Request request(activity_);
  return in_pieces(range, [&](GuestRange piece) -> Result<> {
    if (capabilities_.always_in_place) return in_layer(top_layer(), top().discard(piece));
    const std::uint64_t cluster = geometry_.cluster_size;
    const auto end = piece.end().value == virtual_size() ? align_up(piece.end().value, cluster) : piece.end().value;
    auto whole = narrow(GuestRange{piece.offset, end - piece.offset.value}, cluster);
    if (whole.empty()) return {};
    const auto skipped = align_down(TRY(untouched(whole)), cluster);
    whole = {whole.offset + skipped, whole.length - skipped};
    if (whole.empty()) return {};
    return in_layer(top_layer(), top().discard(whole));
  });
}

}  // namespace penstock
