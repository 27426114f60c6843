// SPDX-License-Identifier: Apache-2.0
/// The parts of an Image that its request paths share; one path a file.
#pragma once

#include <penstock/image.hpp>

#include "base/mutex.hpp"
#include "image/activity.hpp"
#include "image/backing.hpp"
#include "image/range_lock.hpp"
#include "image/unpacked_cache.hpp"

#include <atomic>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace penstock {

class Image::Impl {
 public:
  /// `options`: what holds while the image is open; the layers are.
  Impl(std::vector<Layer> layers, std::vector<std::string> backing_paths, const ImageOptions& options);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  [[nodiscard]] std::uint64_t virtual_size() const noexcept;
  [[nodiscard]] bool writable() const noexcept { return writable_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] Geometry geometry() const noexcept { return geometry_; }
  [[nodiscard]] std::uint64_t cache_bytes() const;
  [[nodiscard]] ImageActivity activity() const noexcept { return activity_.now(); }

  // image.cpp
  [[nodiscard]] Result<> read(GuestOffset offset, std::span<std::byte> out);
  [[nodiscard]] Result<> flush();
  [[nodiscard]] Result<> flush_populated();
  [[nodiscard]] Result<> close();
  // write.cpp
  [[nodiscard]] Result<> write(GuestOffset offset, std::span<const std::byte> in);
  // write_compressed.cpp
  [[nodiscard]] Result<> write_compressed(GuestOffset cluster, std::span<const std::byte> in);
  // zeroing.cpp
  [[nodiscard]] Result<> write_zeroes(GuestRange range, Zeroing zeroing, ZeroBytes bytes);
  [[nodiscard]] Result<> discard(GuestRange range);
  // populate.cpp
  /// `in_bulk`: more follows, and a flush at the end of it all.
  [[nodiscard]] Result<Populated> populate(GuestRange range, unsigned base, bool in_bulk);
  [[nodiscard]] Result<Missing> missing(GuestRange range, unsigned base);
  // drop_backing.cpp
  [[nodiscard]] unsigned layer_count() const;
  [[nodiscard]] Result<> drop_backing(unsigned base);
  void set_copy_on_read(bool on) noexcept { copy_on_read_ = on && writable_; }
  [[nodiscard]] bool copies_on_read() const noexcept { return copy_on_read_; }
  [[nodiscard]] Result<> check_no_snapshots();
  [[nodiscard]] AutoStart auto_start();
  [[nodiscard]] Result<> set_auto_start(AutoStart start);
  // allocate.cpp
  [[nodiscard]] Result<> allocate(GuestRange range);
  // resize.cpp
  [[nodiscard]] Result<> resize(std::uint64_t size);
  // extents.cpp
  [[nodiscard]] Result<Extent> extent(GuestRange want);
  // layers.cpp
  [[nodiscard]] Result<std::uint64_t> allocated_bytes();
  [[nodiscard]] Result<std::vector<LayerInfo>> layers();
  [[nodiscard]] Result<> change_backing(const BackingReference& backing);
  [[nodiscard]] Result<> make_empty();

 private:
  [[nodiscard]] Layer& top_layer() { return layers_.front(); }
  [[nodiscard]] FormatDriver& top() { return *layers_.front().driver; }
  /// The caches of what the layers below answer, empty.
  void open_caches();
  /// Whether a request may be served at all. Asked again under the hold, since a resize may have come between.
  [[nodiscard]] Result<> check_request(GuestRange range) const;
  /// The same for a change, and begin_writing() before the first.
  [[nodiscard]] Result<> check_change(GuestRange range);
  [[nodiscard]] Result<> begin_writing();
  /// Runs `change(piece)` under an exclusive hold for one bounded piece after the other, so that requests between a
  /// long one's pieces go on.
  template <typename Change>
  [[nodiscard]] Result<> in_pieces(GuestRange range, Change&& change);

  // Copy-on-read, without a hold.
  struct Fetched;
  void copy_on_read(GuestRange range);
  [[nodiscard]] Result<std::vector<GuestRange>> runs_missing(GuestRange range);
  [[nodiscard]] Result<Fetched> fetch(GuestRange range, unsigned base);
  [[nodiscard]] Result<Missing> needed_from_below(GuestRange range, unsigned base) REQUIRES_SHARED(chain_mutex_);
  [[nodiscard]] Result<Missing> below(GuestRange range, unsigned base) REQUIRES_SHARED(chain_mutex_);
  struct Storing;
  [[nodiscard]] Result<> store_missing(GuestRange range, std::span<const std::byte> in, Storing& storing);

  // Held: the caller has a hold on the clusters.
  [[nodiscard]] Result<Mapping> map_top(GuestRange range);
  [[nodiscard]] Result<> read_held(GuestRange range, std::span<std::byte> out);
  [[nodiscard]] Result<> read_mapped(const Mapping& mapping, GuestOffset at, std::span<std::byte> out);

  /// What new host room is filled with: `bytes`, or zeroes when there are none, in `range`; what was there around it.
  struct Source {
    GuestRange range;
    std::span<const std::byte> bytes;
    Zeroing zeroing = Zeroing::may_unmap;        ///< how zeroes are represented
    bool allocate = false;                       ///< the room is to be set aside, zeroes included
    std::vector<ReservedRun>* stored = nullptr;  ///< where it went is added to this
  };
  // Exclusively held.
  [[nodiscard]] Result<> write_held(GuestRange range, std::span<const std::byte> in);
  [[nodiscard]] Result<> write_detecting_zeroes(GuestRange range, std::span<const std::byte> in);
  /// Reserve, fill, publish for the start of `range`; bytes of it that are done.
  [[nodiscard]] Result<std::uint64_t> store_new(GuestRange range, const Source& source);
  [[nodiscard]] Result<> fill(const Reservation& room, const Source& source);
  [[nodiscard]] Result<> write_body(const Reservation& room, const Source& source);
  [[nodiscard]] Result<bool> fill_at_once(const Reservation& room, const Source& source);
  [[nodiscard]] Result<bool> is_among_known_zeroes(GuestRange body, GuestRange whole);
  [[nodiscard]] Result<> read_around(GuestRange body, GuestRange whole, std::span<std::byte> out);
  [[nodiscard]] Result<> fill_old(const Reservation& room, GuestRange part, bool explicit_zeroes);
  [[nodiscard]] Result<> read_old(GuestRange range, std::span<std::byte> out);
  [[nodiscard]] Result<Backing::Content> old_content(GuestRange range, Backing::Ask ask = Backing::Ask::files);
  [[nodiscard]] Result<bool> old_reads_zero(GuestRange range);
  [[nodiscard]] Result<std::uint64_t> untouched(GuestRange range);
  [[nodiscard]] Result<> keep_last_cluster(std::uint64_t cluster_end);
  [[nodiscard]] GuestOffset whole_units_end(GuestRange range) const;
  [[nodiscard]] Result<> zero_held(GuestRange range, GuestOffset end, Zeroing zeroing,
                                   ZeroBytes bytes = ZeroBytes::if_needed);
  [[nodiscard]] Result<std::uint64_t> zero_without_bytes(GuestRange part, Zeroing zeroing);
  [[nodiscard]] Result<std::uint64_t> zero_part(GuestRange part, Zeroing zeroing);
  [[nodiscard]] Result<bool> zero_unit_around(GuestRange part, Zeroing zeroing);
  [[nodiscard]] Result<> allocate_held(GuestRange range);
  [[nodiscard]] Result<Extent> extent_once(GuestRange range);

  // Of these, all but the top change when backing files are dropped: under chain_mutex_ and a hold of everything.
  // Whoever has either may look at them.
  mutable SharedMutex chain_mutex_;
  std::vector<Layer> layers_;
  Mutex told_mutex_;                        // for Layer::told
  std::vector<std::string> backing_paths_;  // by layer, resolved
  // By layer, from the root: a daemon leaves the directory that relative names count from.
  std::vector<std::string> absolute_paths_;
  const std::string name_;
  const bool writable_;
  const DetectZeroes detect_zeroes_;
  const std::uint64_t cache_bytes_;
  const Geometry geometry_;
  const Capabilities capabilities_;
  std::atomic<bool> alone_;  // the top names no backing file: what is unallocated is zero for good
  std::optional<UnpackedCache> unpacked_;
  std::optional<Backing> backing_;
  Activity activity_;
  RangeLock range_lock_;
  std::atomic<bool> copy_on_read_{false};
  std::atomic<bool> closed_{false};
  std::atomic<bool> began_writing_{false};
  Mutex begin_mutex_;
  std::uint64_t size_at_close_ = 0;  // written by close(), which runs alone
};

/// How much of the disk one exclusive hold of a long request covers. A multiple of every cluster size.
inline constexpr std::uint64_t kPieceBytes = 256ULL << 20U;

template <typename Change>
Result<> Image::Impl::in_pieces(GuestRange range, Change&& change) {
  while (!range.empty()) {
    const auto boundary = align_down(range.offset.value, kPieceBytes) + kPieceBytes;
    const GuestRange piece{range.offset, std::min(range.length, boundary - range.offset.value)};
    const RangeLock::Hold hold(range_lock_, piece, RangeLock::Mode::exclusive);
    TRY(hold.taken());
    TRY(check_request(piece));
    TRY(change(piece));
    range = {piece.end(), range.length - piece.length};
  }
  return {};
}

/// Zeroes in fresh or in-place host room: as bytes where that is cheaper than asking the file system, but a hole of
/// useful size stays a hole.
[[nodiscard]] Result<> put_zeroes(Storage& storage, HostRange range, Zeroing zeroing);

/// Of `range`, what lies in each of the reservation's runs: calls `each(run, guest part, host offset)`.
template <typename Each>
[[nodiscard]] Result<> for_each_run(const Reservation& room, GuestRange range, Each&& each) {
  for (const auto& run : room.runs()) {
    const auto part = run.guest.intersection(range);
    if (part.empty()) continue;
    TRY(each(run, part, run.host_offset + (part.offset - run.guest.offset)));
  }
  return {};
}

}  // namespace penstock
