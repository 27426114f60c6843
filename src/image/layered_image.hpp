// SPDX-License-Identifier: Apache-2.0
/// An image of layers; one path of requests a file.
#pragma once

#include <penstock/image.hpp>

#include "base/mutex.hpp"
#include "image/activity.hpp"
#include "image/chain.hpp"
#include "image/range_lock.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace penstock {

/// The one that there is: what Image says of itself holds for it.
class LayeredImage final : public Image {
 public:
  /// `options`: what holds while the image is open; the layers are.
  LayeredImage(Layers layers, const ImageOptions& options);
  ~LayeredImage() override;

  // layered_image.cpp
  [[nodiscard]] std::uint64_t virtual_size() const noexcept override;
  [[nodiscard]] bool writable() const noexcept override { return writable_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Geometry geometry() const noexcept override { return geometry_; }
  [[nodiscard]] ImageActivity activity() const noexcept override { return activity_.now(); }
  [[nodiscard]] Result<> read(GuestOffset offset, std::span<std::byte> out) override;
  [[nodiscard]] Result<> flush() override;
  [[nodiscard]] Result<> flush_populated() override;
  [[nodiscard]] Result<> close() override;
  // write.cpp
  [[nodiscard]] Result<> write(GuestOffset offset, std::span<const std::byte> in) override;
  // write_compressed.cpp
  [[nodiscard]] Result<> write_compressed(GuestOffset cluster, std::span<const std::byte> in) override;
  // zeroing.cpp
  using Image::write_zeroes;
  [[nodiscard]] Result<> write_zeroes(GuestRange range, Zeroing zeroing, ZeroBytes bytes) override;
  [[nodiscard]] Result<> discard(GuestRange range) override;
  // populate.cpp
  [[nodiscard]] Result<Populated> populate(GuestRange range, const Layer* base) override;
  [[nodiscard]] Result<Missing> missing(GuestRange range, const Layer* base) override;
  void set_copy_on_read(bool on) noexcept override { copy_on_read_ = on && writable_; }
  [[nodiscard]] bool copies_on_read() const noexcept override { return copy_on_read_; }
  // drop_backing.cpp
  [[nodiscard]] Result<> drop_backing(const Layer* base) override;
  [[nodiscard]] AutoStart auto_start() const override;
  [[nodiscard]] Result<> set_auto_start(AutoStart start) override;
  // allocate.cpp
  [[nodiscard]] Result<> allocate(GuestRange range) override;
  // resize.cpp
  [[nodiscard]] Result<> resize(std::uint64_t size) override;
  // extents.cpp
  [[nodiscard]] Result<Extent> extent(GuestRange want) override;
  // layers.cpp
  [[nodiscard]] Result<> start() override;
  [[nodiscard]] unsigned layer_count() const noexcept override;
  [[nodiscard]] std::uint64_t cache_bytes() const override;
  [[nodiscard]] Result<std::uint64_t> allocated_bytes() override;
  [[nodiscard]] Result<std::vector<LayerInfo>> layers() override;
  [[nodiscard]] Result<> change_backing(const BackingReference& backing) override;
  [[nodiscard]] Result<> make_empty() override;

 private:
  /// The top is the same in all chains.
  [[nodiscard]] const Layer& top_layer() const { return *top_; }
  [[nodiscard]] FormatDriver& top() const { return *top_->driver; }
  /// For who has no hold. Null once the image is closed.
  [[nodiscard]] std::shared_ptr<Chain> chain() const;
  /// Errors: EBADF, the image is closed.
  [[nodiscard]] Result<std::shared_ptr<Chain>> open_chain() const;
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
  /// `in_bulk`: more follows, and a flush at the end of it all.
  [[nodiscard]] Result<Populated> populate(GuestRange range, const Layer* base, bool in_bulk);
  [[nodiscard]] Result<std::vector<GuestRange>> runs_missing(GuestRange range);
  [[nodiscard]] Result<Fetched> fetch(Chain& chain, GuestRange range, unsigned base);
  [[nodiscard]] Result<Missing> needed_from_below(Chain& chain, GuestRange range, unsigned base) const;
  [[nodiscard]] Result<Missing> below(Chain& chain, GuestRange range, unsigned base) const;
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
  [[nodiscard]] Result<> check_no_snapshots();

  // Replaced under a hold of everything and chain_mutex_: whoever has a hold may use it as it is, others take it with
  // chain().
  std::shared_ptr<Chain> chain_;
  mutable Mutex chain_mutex_;
  const Layer* const top_;  // of each chain; not after close()
  const std::string name_;
  const bool writable_;
  const DetectZeroes detect_zeroes_;
  const Geometry geometry_;
  const Capabilities capabilities_;
  std::atomic<bool> alone_;  // Chain::alone(), for who has no hold
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
Result<> LayeredImage::in_pieces(GuestRange range, Change&& change) {
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
