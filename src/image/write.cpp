// SPDX-License-Identifier: Apache-2.0
/// Writing: in place where the top layer has the bytes for itself, else reserve, fill, publish.
#include "image/layered_image.hpp"
#include "image/named.hpp"
#include "image/zero_scan.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>

namespace penstock {

namespace {

// Up to here one write of a composed cluster is cheaper than one each for head, body and tail.
constexpr std::uint64_t kComposeMax = 128U << 10U;
// Room for it is page-aligned, so that host storage opened with O_DIRECT needs no bounce buffer.
constexpr std::size_t kPage = 4096;
// Old contents of large clusters move through a buffer of this size.
constexpr std::uint64_t kCopyBytes = 1U << 20U;
// Shorter zeroes are written: asking the file system costs a journal entry.
constexpr std::size_t kZeroBytes = 32U << 10U;
// A shorter hole gives nothing back.
constexpr std::size_t kHoleBytesMin = 4096;

/// The calling thread's, kComposeMax bytes, kept: each write that took it from the heap anew would have the kernel map
/// and clear its pages, which costs as much as the write.
std::span<std::byte> compose_room() {
  struct Free {
    void operator()(std::byte* room) const noexcept { std::free(room); }
  };
  thread_local std::unique_ptr<std::byte, Free> room;
  if (!room) room.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, kComposeMax)));
  if (!room) throw std::bad_alloc();
  return {room.get(), kComposeMax};
}

}  // namespace

Result<> put_zeroes(Storage& storage, HostRange range, Zeroing zeroing) {
  static constexpr std::array<std::byte, kZeroBytes> kZeroes{};
  const auto written_max = zeroing == Zeroing::keep ? kZeroes.size() : kHoleBytesMin - 1;
  if (range.length > written_max) return zero_out(storage, range, zeroing);
  return storage.write(range.offset, std::span(kZeroes).first(range.length));
}

Result<> LayeredImage::write(GuestOffset offset, std::span<const std::byte> in) {
  const GuestRange range{offset, in.size()};
  TRY(check_change(range));
  const Activity::Request request(activity_);
  const RangeLock::Hold hold(range_lock_, range, RangeLock::Mode::exclusive);
  TRY(hold.taken());
  TRY(check_request(range));
  return detect_zeroes_ == DetectZeroes::off ? write_held(range, in) : write_detecting_zeroes(range, in);
}

/// Cluster by cluster, never the request as a whole: a byte that is not zero must not store its zero neighbours.
Result<> LayeredImage::write_detecting_zeroes(GuestRange range, std::span<const std::byte> in) {
  const auto zeroing = detect_zeroes_ == DetectZeroes::unmap ? Zeroing::may_unmap : Zeroing::keep;
  while (!range.empty()) {
    const auto run = first_zero_run(range.offset, in, geometry_.allocation_unit);
    const GuestRange part{range.offset, run.length};
    TRY(run.zero ? zero_held(part, whole_units_end(part), zeroing) : write_held(part, in.first(run.length)));
    range = {part.end(), range.length - run.length};
    in = in.subspan(run.length);
  }
  return {};
}

Result<> LayeredImage::write_held(GuestRange range, std::span<const std::byte> in) {
  while (!range.empty()) {
    const auto mapping = TRY(map_top(range));
    std::uint64_t done = mapping.length;
    if (mapping.kind == MappingKind::data && mapping.in_place) {
      TRY(in_layer(top_layer(), mapping.storage->write(mapping.host_offset, in.first(done))));
    } else {
      done = TRY(store_new(range, {.range = range, .bytes = in}));
    }
    range = {range.offset + done, range.length - done};
    in = in.subspan(done);
  }
  return {};
}

Result<std::uint64_t> LayeredImage::store_new(GuestRange range, const Source& source) {
  const auto unit = geometry_.allocation_unit;
  auto room = TRY(in_layer(top_layer(), top().reserve(widen(range, unit))));
  // A format whose data file is the disk has no room behind its end.
  const auto first_unit = widen(GuestRange{range.offset, 1}, unit).intersection({{0}, top().virtual_size()});
  if (!room.range().contains(first_unit)) {
    return fail(EIO, concat(printable(name_), ": no host room reserved at guest offset ", hex(range.offset.value)));
  }
  const auto end = std::min(room.range().end(), range.end());
  TRY(fill(room, source));
  if (source.stored != nullptr) std::ranges::copy(room.runs(), std::back_inserter(*source.stored));
  TRY(in_layer(top_layer(), top().publish(std::move(room))));
  return end - range.offset;
}

Result<> LayeredImage::fill(const Reservation& room, const Source& source) {
  const auto whole = room.range();
  const auto body = source.range.intersection(whole);
  bool explicit_zeroes = false;
  if (source.allocate) {
    for (const auto& run : room.runs()) {
      auto set_aside = run.storage->allocate({run.host_offset, run.guest.length});
      if (!set_aside && !set_aside.error().is(EOPNOTSUPP)) return in_layer(top_layer(), std::move(set_aside));
      if (!set_aside) explicit_zeroes = true;
    }
  } else if (TRY(fill_at_once(room, source))) {
    return {};
  }
  if (!body.empty()) {
    TRY(fill_old(room, {whole.offset, body.offset - whole.offset}, explicit_zeroes));
    TRY(write_body(room, source));
    return fill_old(room, {body.end(), whole.end() - body.end()}, explicit_zeroes);
  }
  return fill_old(room, whole, explicit_zeroes);
}

Result<> LayeredImage::write_body(const Reservation& room, const Source& source) {
  const auto body = source.range.intersection(room.range());
  return in_layer(
      top_layer(), for_each_run(room, body, [&](const auto& run, GuestRange part, HostOffset at) -> Result<> {
        if (!source.bytes.empty())
          return run.storage->write(at, source.bytes.subspan(part.offset - source.range.offset, part.length));
        if (run.reads_zero) return {};
        return put_zeroes(*run.storage, {at, part.length}, source.zeroing);
      }));
}

/// Bytes among zeroes need only be written where the room reads as zero; in a small reservation, bytes among others
/// become one composed write a run.
Result<bool> LayeredImage::fill_at_once(const Reservation& room, const Source& source) {
  const auto whole = room.range();
  const auto body = source.range.intersection(whole);
  if (source.bytes.empty() || body.empty() || body == whole) return false;
  const bool fresh = std::ranges::all_of(room.runs(), &ReservedRun::reads_zero);
  if (fresh && TRY(is_among_known_zeroes(body, whole))) {
    TRY(write_body(room, source));
    return true;
  }
  if (whole.length > kComposeMax) return false;
  const auto bytes = compose_room().first(whole.length);
  const auto head = bytes.first(body.offset - whole.offset);
  const auto tail = bytes.last(whole.end() - body.end());
  TRY(read_around(body, whole, bytes));
  if (fresh && is_all_zero(head) && is_all_zero(tail)) {
    TRY(write_body(room, source));
    return true;
  }
  std::memcpy(head.data() + head.size(), source.bytes.data() + (body.offset - source.range.offset), body.length);
  TRY(in_layer(top_layer(), for_each_run(room, whole, [&](const auto& run, GuestRange part, HostOffset at) {
                 return run.storage->write(at, bytes.subspan(part.offset - whole.offset, part.length));
               })));
  return true;
}

/// By the maps, without a question to a file: one look, where head and tail are of one kind.
Result<bool> LayeredImage::is_among_known_zeroes(GuestRange body, GuestRange whole) {
  for (GuestOffset at = whole.offset; at < whole.end();) {
    if (body.contains({at, 1})) {
      at = body.end();
      continue;
    }
    const auto content = TRY(old_content({at, whole.end() - at}, Backing::Ask::maps));
    if (!content.zero) return false;
    at = at + content.length;
  }
  return true;
}

/// In one read where the body is small, which is read as well then: if it can be, for it may be damaged.
Result<> LayeredImage::read_around(GuestRange body, GuestRange whole, std::span<std::byte> out) {
  if (body.length <= whole.length / 2 && read_old(whole, out)) return {};
  const GuestRange head{whole.offset, body.offset - whole.offset};
  const GuestRange tail{body.end(), whole.end() - body.end()};
  TRY(read_old(head, out.first(head.length)));
  return read_old(tail, out.last(tail.length));
}

Result<> LayeredImage::fill_old(const Reservation& room, GuestRange part, bool explicit_zeroes) {
  std::unique_ptr<std::byte[]> buffer;
  while (!part.empty()) {
    const auto content = TRY(old_content(part));
    GuestRange now{part.offset, content.length};
    if (content.zero) {
      TRY(in_layer(top_layer(),
                   for_each_run(room, now, [&](const auto& run, GuestRange piece, HostOffset at) -> Result<> {
                     if (run.reads_zero && !explicit_zeroes) return {};
                     return put_zeroes(*run.storage, {at, piece.length}, Zeroing::keep);
                   })));
    } else {
      now.length = std::min(now.length, kCopyBytes);
      if (!buffer) buffer = std::make_unique_for_overwrite<std::byte[]>(std::min(part.length, kCopyBytes));
      const std::span bytes(buffer.get(), now.length);
      TRY(read_old(now, bytes));
      TRY(in_layer(top_layer(), for_each_run(room, now, [&](const auto& run, GuestRange piece, HostOffset at) {
                     return run.storage->write(at, bytes.subspan(piece.offset - now.offset, piece.length));
                   })));
    }
    part = {now.end(), part.length - now.length};
  }
  return {};
}

/// What the guest sees, zero behind the end: bytes that an old cluster carries there are nobody's.
Result<> LayeredImage::read_old(GuestRange range, std::span<std::byte> out) {
  const auto seen = range.intersection({{0}, top().virtual_size()});
  if (seen.length < range.length) std::memset(out.data() + seen.length, 0, range.length - seen.length);
  return read_held(seen, out.first(seen.length));
}

Result<Backing::Content> LayeredImage::old_content(GuestRange range, Backing::Ask ask) {
  const auto seen = range.intersection({{0}, top().virtual_size()});
  if (seen.empty()) return Backing::Content{true, range.length};
  const auto mapping = TRY(map_top(seen));
  switch (mapping.kind) {
    case MappingKind::zero:
      return Backing::Content{true, mapping.length};
    case MappingKind::unallocated:
      return chain_->backing().content({seen.offset, mapping.length}, ask);
    case MappingKind::data:
    case MappingKind::compressed:
      break;
  }
  return Backing::Content{false, mapping.length};
}

Result<bool> LayeredImage::old_reads_zero(GuestRange range) {
  while (!range.empty()) {
    const auto part = TRY(old_content(range));
    if (!part.zero) return false;
    range = {range.offset + part.length, range.length - part.length};
  }
  return true;
}

}  // namespace penstock
