// SPDX-License-Identifier: Apache-2.0
/// Copy-on-read: what the top layer lacks is fetched from below and kept.
///
/// The lower layers do not change, so they are read without a hold on the clusters: requests go on meanwhile, however
/// slow the layers are. The hold is taken to store, and only what is still missing then is stored: a guest write that
/// came between wins.
#include "base/log.hpp"
#include "image/layered_image.hpp"
#include "image/named.hpp"
#include "image/zero_scan.hpp"
#include "storage/write_back.hpp"

#include <algorithm>

namespace penstock {

namespace {

// Where there is nothing to read, how much one piece may cover.
constexpr std::uint64_t kZeroPieceMax = 1ULL << 40U;
constexpr std::uint64_t kFillPieceMax = 64U << 20U;
// Less is left to the host, which may put it together: a job that is held back, or gives way to a busy guest.
constexpr std::uint64_t kWriteBackBytes = 256U << 10U;

/// Kept by its thread: fresh memory costs as much as reading into it.
std::span<std::byte> fetch_buffer(std::uint64_t size) {
  constexpr std::uint64_t kKeptMax = 4U << 20U;
  thread_local std::unique_ptr<std::byte[]> bytes;
  thread_local std::uint64_t room = 0;
  if (room < size || room > kKeptMax) {
    bytes.reset();
    bytes = std::make_unique_for_overwrite<std::byte[]>(size);
    room = size;
  }
  return {bytes.get(), size};
}

}  // namespace

/// What is to be stored in whole units. Valid until the thread fetches again.
struct LayeredImage::Fetched {
  struct Piece {
    GuestRange range;
    std::span<const std::byte> bytes;  // none: zeroes
  };
  std::vector<Piece> pieces;
};

/// What the layers below say about the start of `range`, whatever the top has there.
Result<Image::Missing> LayeredImage::below(Chain& chain, GuestRange range, unsigned base) const {
  if (base >= chain.size()) {
    const auto content = TRY(chain.backing().content(range));
    return Missing{
        .missing = !content.zero || capabilities_.must_fill, .known_zero = content.zero, .length = content.length};
  }
  // With layers that stay the answer must tell which of them it comes from; the flattened map has forgotten.
  const auto answer = TRY(ask_layers(chain.layers(), 1, range));
  const auto length = answer.mapping.length;
  switch (answer.mapping.kind) {
    case MappingKind::unallocated:
      // Behind the end of a layer that goes there is zero, whatever the layers that stay have there.
      return Missing{.missing = answer.behind_end && answer.depth < base, .known_zero = true, .length = length};
    case MappingKind::zero:
      return Missing{.missing = answer.depth < base, .known_zero = true, .length = length};
    case MappingKind::data: {
      const auto& layer = chain[answer.depth];
      if (answer.depth >= base || !tells_holes(layer, *answer.mapping.storage)) break;
      const auto host = TRY(in_layer(layer, answer.mapping.storage->extent(answer.mapping.host_offset)));
      return Missing{.missing = true,
                     .known_zero = !host.data,
                     .length = host.length == 0 ? length : std::min(length, host.length)};
    }
    case MappingKind::compressed:
      break;
  }
  return Missing{.missing = answer.depth < base, .known_zero = false, .length = length};
}

/// The same in whole units: one that has data anywhere is to be read as a whole.
Result<Image::Missing> LayeredImage::needed_from_below(Chain& chain, GuestRange range, unsigned base) const {
  const std::uint64_t unit = geometry_.allocation_unit;
  Missing whole;
  while (whole.length < range.length) {
    GuestRange rest{range.offset + whole.length, range.length - whole.length};
    auto part = TRY(below(chain, rest, base));
    if (part.length < rest.length && part.length < unit) {
      // The unit has several answers.
      const auto end = std::min(rest.length, unit);
      while (part.length < end) {
        const auto next = TRY(below(chain, {rest.offset + part.length, end - part.length}, base));
        part = {part.missing || next.missing, part.known_zero && next.known_zero, part.length + next.length};
      }
    } else if (part.length < rest.length) {
      part.length = align_down(part.length, unit);
    }
    if (whole.length != 0 && (part.missing != whole.missing || part.known_zero != whole.known_zero)) break;
    whole = {part.missing, part.known_zero, whole.length + part.length};
  }
  return whole;
}

Result<Image::Missing> LayeredImage::missing(GuestRange range, const Layer* base) {
  TRY(check_request(range));
  if (range.empty()) return fail(EINVAL, concat(printable(name_), ": an extent of no bytes"));
  range.length = std::min(range.length, kZeroPieceMax);
  const auto chain = TRY(open_chain());
  const auto depth = TRY(chain->depth_of(base));
  Mapping mapping;
  {
    const RangeLock::Hold hold(range_lock_, range, RangeLock::Mode::shared);
    TRY(hold.taken());
    TRY(check_request(range));
    mapping = TRY(map_top(range));
  }
  if (mapping.kind != MappingKind::unallocated) return Missing{.length = mapping.length};
  // Where zeroes are to be stored, the caller takes a short step of what is found: looking far is work done again.
  const bool fills = capabilities_.must_fill || depth < chain->size();
  return needed_from_below(*chain, {range.offset, fills ? std::min(mapping.length, kFillPieceMax) : mapping.length},
                           depth);
}

/// The runs of `range` that the top layer has nothing for.
Result<std::vector<GuestRange>> LayeredImage::runs_missing(GuestRange range) {
  const RangeLock::Hold hold(range_lock_, range, RangeLock::Mode::shared);
  TRY(hold.taken());
  TRY(check_request(range));
  std::vector<GuestRange> runs;
  while (!range.empty()) {
    const auto mapping = TRY(map_top(range));
    if (mapping.kind == MappingKind::unallocated) runs.push_back({range.offset, mapping.length});
    range = {range.offset + mapping.length, range.length - mapping.length};
  }
  return runs;
}

Result<LayeredImage::Fetched> LayeredImage::fetch(Chain& chain, GuestRange range, unsigned base) {
  Fetched fetched;
  std::span<std::byte> room;
  for (auto run : TRY(runs_missing(range))) {
    while (!run.empty()) {
      const auto needed = TRY(needed_from_below(chain, run, base));
      const GuestRange part{run.offset, needed.length};
      run = {part.end(), run.length - part.length};
      if (!needed.missing) continue;
      if (needed.known_zero) {
        fetched.pieces.push_back({part, {}});
        continue;
      }
      if (room.empty()) room = fetch_buffer(range.end() - part.offset);
      const auto buffer = room.first(part.length);
      room = room.subspan(part.length);
      TRY(chain.backing().read(part.offset, buffer));
      std::span<const std::byte> rest(buffer);
      for (auto at = part.offset; !rest.empty();) {
        const auto same = first_zero_run(at, rest, geometry_.allocation_unit);
        fetched.pieces.push_back(
            {{at, same.length}, same.zero ? std::span<const std::byte>() : rest.first(same.length)});
        at += same.length;
        rest = rest.subspan(same.length);
      }
    }
  }
  return fetched;
}

struct LayeredImage::Storing {
  bool to_base = false;  // a layer below stays, so that zeroes must be stored, as bytes if need be
  Populated done;
  std::vector<ReservedRun> runs;  // where bytes went
};

/// Exclusively held. `in`: what was fetched; none: zeroes.
Result<> LayeredImage::store_missing(GuestRange range, std::span<const std::byte> in, Storing& storing) {
  auto& done = storing.done;
  auto rest = range;
  while (!rest.empty()) {
    const auto mapping = TRY(map_top(rest));
    GuestRange part{rest.offset, mapping.length};
    if (mapping.kind == MappingKind::unallocated && in.empty()) {
      auto zeroed = in_layer(
          top_layer(), top().publish_zero({part.offset, whole_units_end(part) - part.offset}, Zeroing::may_unmap));
      if (zeroed) {
        part.length = std::min(part.length, *zeroed);
        done.zeroed += part.length;
      } else if (!zeroed.error().is(EOPNOTSUPP)) {
        return Failure(std::move(zeroed).error());
      } else if (storing.to_base || capabilities_.must_fill) {
        part.length = TRY(store_new(part, {.range = part, .bytes = {}}));
        done.zeroed += part.length;
      } else {
        done.left += part.length;
      }
    } else if (mapping.kind == MappingKind::unallocated) {
      const auto bytes = in.subspan(part.offset - range.offset, part.length);
      part.length = TRY(store_new(part, {.range = part, .bytes = bytes, .stored = &storing.runs}));
      done.copied += part.length;
    }
    rest = {part.end(), rest.length - part.length};
  }
  return {};
}

Result<Populated> LayeredImage::populate(GuestRange range, const Layer* base) {
  return populate(range, base, true);
}

Result<Populated> LayeredImage::populate(GuestRange range, const Layer* base, bool in_bulk) {
  TRY(check_change(range));
  const std::uint64_t cluster = geometry_.cluster_size;
  if (!is_aligned(range.offset.value, cluster) ||
      (!is_aligned(range.length, cluster) && range.end().value != virtual_size())) {
    return fail(EINVAL, concat(printable(name_), ": ", range.length, " bytes at guest offset ", hex(range.offset.value),
                               " are not whole clusters"));
  }
  Storing storing;
  const auto chain = TRY(open_chain());
  const auto depth = TRY(chain->depth_of(base));
  const auto fetched = TRY(fetch(*chain, range, depth));
  if (fetched.pieces.empty()) return storing.done;
  storing.to_base = depth < chain->size();
  {
    const RangeLock::Hold hold(range_lock_, range, RangeLock::Mode::exclusive);
    TRY(hold.taken());
    TRY(check_request(range));
    // Layers were dropped meanwhile: what they had is in the top, and what it lacks now was forgotten by the guest.
    if (chain_ != chain) return storing.done;
    for (const auto& piece : fetched.pieces) TRY(store_missing(piece.range, piece.bytes, storing));
  }
  if (in_bulk) {
    // The disk stores this while the next is read. Without the hold: it may have to wait for the disk.
    for (const auto& run : storing.runs) {
      if (run.guest.length < kWriteBackBytes) continue;
      begin_write_back(*run.storage, {run.host_offset, run.guest.length});
    }
  }
  return storing.done;
}

/// Before a read. What cannot be stored is not the reader's concern: it reads through the layers as ever.
void LayeredImage::copy_on_read(GuestRange range) {
  if (alone_.load(std::memory_order_relaxed)) return;
  constexpr std::uint64_t kStep = 4U << 20U;
  const auto runs = runs_missing(range);
  if (!runs) return;  // told by the read
  for (const auto& run : *runs) {
    const auto whole = widen(run, geometry_.cluster_size).intersection({{0}, virtual_size()});
    for (auto at = whole.offset; at < whole.end();) {
      const auto step = std::max<std::uint64_t>(kStep, geometry_.cluster_size);
      const GuestRange part{at, std::min(step, whole.end() - at)};
      const auto kept = populate(part, nullptr, false);
      if (!kept) {
        activity_.copy_on_read_failed();
        log_limited(LogLevel::warning, concat("copy-on-read: ", kept.error().message(), "; the read goes on"));
        return;
      }
      activity_.copied_on_read(kept->copied + kept->zeroed);
      at = part.end();
    }
  }
}

}  // namespace penstock
