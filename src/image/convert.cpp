// SPDX-License-Identifier: Apache-2.0
/// Copying what one image shows into another.
#include "base/text.hpp"
#include "image/copy_chunks.hpp"
#include "image/named.hpp"
#include "image/zero_scan.hpp"

#include <bit>
#include <cstring>

namespace penstock {

namespace {

constexpr std::uint64_t kSparseMin = 512;

class Conversion {
 public:
  Conversion(Image& source, Image& target, const ConvertOptions& options)
      : source_(source),
        target_(target),
        options_(options),
        backed_(target.layer_count() > 1),
        unit_(static_cast<std::uint32_t>(
            std::bit_ceil(std::clamp<std::uint64_t>(options.sparse_bytes, kSparseMin, kCopyChunkMin)))) {}

  [[nodiscard]] Result<> run(Executor& executor) {
    if (target_.virtual_size() < source_.virtual_size()) {
      return fail(EINVAL, concat(printable(target_.name()), ": ", target_.virtual_size(), " bytes are fewer than the ",
                                 source_.virtual_size(), " of ", printable(source_.name())));
    }
    TRY(work_in_chunks(executor, {.size = source_.virtual_size(),
                                  .chunk_bytes = chunk_bytes_for(target_),
                                  .buffers = backed_ ? 2U : 1U,
                                  .options = options_.copy,
                                  .skip = [this](GuestRange rest) { return skip(rest); },
                                  .work =
                                      [this](GuestRange piece, std::span<std::byte> memory) {
                                        return backed_ ? copy_differing(piece, memory) : copy(piece, memory);
                                      }}));
    return target_.flush();
  }

 private:
  [[nodiscard]] bool stores_zeroes() const { return options_.sparse_bytes == 0; }

  Result<std::uint64_t> skip(GuestRange rest) {
    if (stores_zeroes()) return 0;
    const Extent extent = TRY(source_.extent(rest));
    if (!reads_zero(extent)) return 0;
    if (!backed_ && options_.fresh) return extent.guest.length;
    if (!backed_) {
      TRY(target_.write_zeroes(extent.guest, Zeroing::may_unmap));
      return extent.guest.length;
    }
    const Extent there = TRY(target_.extent(extent.guest));
    return reads_zero(there) ? there.guest.length : 0;
  }

  Result<> copy(GuestRange piece, std::span<std::byte> memory) {
    const auto bytes = memory.first(piece.length);
    TRY(source_.read(piece.offset, bytes));
    if (options_.compressed) return store_clusters(piece, bytes);
    if (stores_zeroes()) return target_.write(piece.offset, bytes);
    return store_runs(piece, bytes);
  }

  /// Zeroes are left out by the run, not by the cluster: part of a new cluster may stay a hole of the host file.
  Result<> store_runs(GuestRange piece, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto run = first_zero_run(piece.offset, bytes, unit_);
      const GuestRange part{piece.offset, run.length};
      if (!run.zero) TRY(target_.write(part.offset, bytes.first(run.length)));
      if (run.zero && !options_.fresh) TRY(target_.write_zeroes(part, Zeroing::may_unmap));
      piece = {part.end(), piece.length - run.length};
      bytes = bytes.subspan(run.length);
    }
    return {};
  }

  Result<> store_clusters(GuestRange piece, std::span<const std::byte> bytes) {
    const std::uint64_t cluster = target_.geometry().cluster_size;
    while (!bytes.empty()) {
      const auto part = bytes.first(std::min<std::uint64_t>(cluster, bytes.size()));
      TRY(store_cluster(piece.offset, part));
      piece.offset += part.size();
      bytes = bytes.subspan(part.size());
    }
    return {};
  }

  Result<> store_cluster(GuestOffset offset, std::span<const std::byte> bytes) {
    if (!stores_zeroes() && is_all_zero(bytes)) {
      if (options_.fresh) return {};
      return target_.write_zeroes({offset, bytes.size()}, Zeroing::may_unmap);
    }
    const bool whole =
        bytes.size() == target_.geometry().cluster_size || offset.value + bytes.size() == target_.virtual_size();
    return whole ? target_.write_compressed(offset, bytes) : target_.write(offset, bytes);
  }

  /// Over a backing file: what the target shows already is not stored, whoever it comes from.
  Result<> copy_differing(GuestRange piece, std::span<std::byte> memory) {
    const auto bytes = memory.first(piece.length);
    const auto there = memory.last(piece.length);
    TRY(source_.read(piece.offset, bytes));
    TRY(target_.read(piece.offset, there));
    const std::uint64_t unit =
        options_.compressed ? target_.geometry().cluster_size : target_.geometry().allocation_unit;
    for (std::uint64_t at = 0; at < bytes.size();) {
      const auto length = std::min<std::uint64_t>(unit - (piece.offset.value + at) % unit, bytes.size() - at);
      const auto part = bytes.subspan(at, length);
      if (std::memcmp(part.data(), there.data() + at, length) != 0) {
        const GuestRange range{piece.offset + at, length};
        if (is_all_zero(part)) {
          TRY(target_.write_zeroes(range, Zeroing::may_unmap));
        } else {
          TRY(options_.compressed ? store_cluster(range.offset, part) : target_.write(range.offset, part));
        }
      }
      at += length;
    }
    return {};
  }

  Image& source_;
  Image& target_;
  const ConvertOptions& options_;
  const bool backed_;         // the target has a backing file
  const std::uint32_t unit_;  // zero runs go by this
};

}  // namespace

Result<> convert_image(Image& source, Image& target, Executor& executor, const ConvertOptions& options) {
  return Conversion(source, target, options).run(executor);
}

}  // namespace penstock
