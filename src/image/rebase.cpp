// SPDX-License-Identifier: Apache-2.0
/// Putting an image on another backing file.
#include "base/text.hpp"
#include "image/copy_chunks.hpp"
#include "image/layer_copies.hpp"
#include "image/named.hpp"
#include "image/zero_scan.hpp"

#include <cstring>

namespace penstock {

namespace {

/// Stores in the image what the new backing file would show otherwise. The header still names the old one: what is
/// stored is what the guest sees anyway.
class Rebase {
 public:
  /// `next` is null when the image is to stand alone. From layer `common` of the image down the chains are the same.
  Rebase(Image& image, Image* next, unsigned common)
      : image_(image), next_(next), common_(common), unit_(image.geometry().allocation_unit) {}

  [[nodiscard]] Result<> run(Executor& executor, const CopyOptions& options) {
    TRY(work_in_chunks(
        executor, {.size = image_.virtual_size(),
                   .chunk_bytes = chunk_bytes_for(image_),
                   .buffers = 2,
                   .options = options,
                   .skip = [this](GuestRange rest) { return skip(rest); },
                   .work = [this](GuestRange piece, std::span<std::byte> memory) { return work(piece, memory); }}));
    // Before the name changes, everything that the old file was asked for is in the image for good.
    return image_.flush();
  }

 private:
  /// To stand alone is what streaming ends with: the image knows what it lacks for that (add-cow: every cluster).
  [[nodiscard]] bool populates() const { return next_ == nullptr && image_.geometry().cluster_size <= kCopyChunkMax; }

  Result<std::uint64_t> skip(GuestRange rest) {
    if (populates()) {
      const auto missing = TRY(image_.missing(rest, nullptr));
      return missing.missing ? 0 : missing.length;
    }
    const Extent extent = TRY(image_.extent(rest));
    if (extent.present && (extent.depth == 0 || extent.depth >= common_)) return extent.guest.length;
    if (!reads_zero(extent)) return 0;
    const auto length = TRY(zero_below(extent.guest));
    return length;
  }

  /// How much of the start of `range` the new backing file is known to show as zero.
  Result<std::uint64_t> zero_below(GuestRange range) {
    if (next_ == nullptr || range.offset.value >= next_->virtual_size()) return range.length;
    range.length = std::min(range.length, next_->virtual_size() - range.offset.value);
    const Extent extent = TRY(next_->extent(range));
    return reads_zero(extent) ? extent.guest.length : 0;
  }

  Result<> read_next(GuestOffset offset, std::span<std::byte> out) {
    const auto size = next_ == nullptr ? 0 : next_->virtual_size();
    const auto there = std::min<std::uint64_t>(out.size(), size - std::min(size, offset.value));
    if (there != 0) TRY(next_->read(offset, out.first(there)));
    std::memset(out.data() + there, 0, out.size() - there);
    return {};
  }

  Result<> work(GuestRange piece, std::span<std::byte> memory) {
    if (populates()) {
      static_cast<void>(TRY(image_.populate(piece, nullptr)));
      return {};
    }
    while (!piece.empty()) {
      auto length = TRY(skip(piece));
      if (length == 0) {
        length = TRY(image_.extent(piece)).guest.length;
        const auto old_bytes = memory.first(length);
        const auto next_bytes = memory.subspan(memory.size() / 2, length);
        TRY(image_.read(piece.offset, old_bytes));
        TRY(read_next(piece.offset, next_bytes));
        TRY(store_differing(piece.offset, old_bytes, next_bytes));
      }
      piece = {piece.offset + length, piece.length - length};
    }
    return {};
  }

  Result<> store_differing(GuestOffset offset, std::span<const std::byte> old_bytes,
                           std::span<const std::byte> next_bytes) {
    while (!old_bytes.empty()) {
      const auto length = std::min<std::uint64_t>(unit_ - offset.value % unit_, old_bytes.size());
      const auto part = old_bytes.first(length);
      if (std::memcmp(part.data(), next_bytes.data(), length) != 0) TRY(store(offset, part));
      offset += length;
      old_bytes = old_bytes.subspan(length);
      next_bytes = next_bytes.subspan(length);
    }
    return {};
  }

  /// The unit around is then the image's own: a write copies the rest of it from the old chain.
  Result<> store(GuestOffset offset, std::span<const std::byte> bytes) {
    if (!is_all_zero(bytes)) return image_.write(offset, bytes);
    const GuestRange range{offset, bytes.size()};
    TRY(image_.write_zeroes(range, Zeroing::may_unmap));
    // Where the old chain showed zero the image may have stored nothing, and the new one would show through.
    const Extent extent = TRY(image_.extent(range));
    if (extent.present && extent.depth == 0 && extent.guest.length == range.length) return {};
    return image_.write(offset, bytes);
  }

  Image& image_;
  Image* const next_;
  const unsigned common_;
  const std::uint64_t unit_;
};

/// Depth of the layer of `image` that is the file of that identity; layer_count() when there is none.
Result<unsigned> depth_of(Image& image, const std::string& identity) {
  const auto layers = TRY(image.layers());
  for (unsigned depth = 0; depth < layers.size(); ++depth) {
    if (!identity.empty() && layers[depth].facts.identity == identity) return depth;
  }
  return static_cast<unsigned>(layers.size());
}

Result<> check_format(const BackingReference& backing, const ImageName& name) {
  if (!backing.format.empty()) {
    static_cast<void>(TRY(find_format(backing.format)));
  } else if (!backing.name.empty() && name.format.empty() && !name.bytes_alone) {
    // What the contents look like decides nothing: the guest of a raw base could have written them.
    return fail(EINVAL, "backing file given without its format; say -F FORMAT");
  } else if (backing.name.empty() && !backing.format.empty()) {
    return fail(EINVAL, "backing format given without a backing file");
  }
  return {};
}

Result<> rebase(const RebaseRequest& request, Executor& executor, const CopyOptions& options) {
  const auto files = make_host_opener();
  const auto place = TRY(parse_name(request.image));
  const auto shown = place.text();
  ImageName base;
  if (!request.backing.name.empty()) base = TRY(resolve_name(place, request.backing.name));
  TRY(check_format(request.backing, base));
  const auto image = TRY(
      Image::open(place, {.format = request.format, .writable = true, .backing = !request.unchecked, .opener = files}));
  const auto own = TRY(image->layers()).front().facts.identity;
  std::string base_identity;
  if (!request.backing.name.empty()) base_identity = files->identify(base).value_or("");
  if (!base_identity.empty() && base_identity == own) {
    return fail(ELOOP, concat(printable(shown), ": an image cannot be its own backing file"));
  }
  if (!request.unchecked && !TRY(image->layers()).front().details.snapshots.empty()) {
    return fail(ENOTSUP, concat(printable(shown),
                                ": has internal snapshots, which would lose their backing file; delete them first "
                                "('qemu-img snapshot -d'), or say -u"));
  }
  std::unique_ptr<Image> next;
  if (!request.unchecked) {
    if (!request.backing.name.empty()) {
      auto opened = Image::open(base, {.format = request.backing.format, .opener = files});
      if (!opened) return Failure(opened.error().in("new backing file").in(printable(shown)));
      next = *std::move(opened);
      if (TRY(depth_of(*next, own)) != next->layer_count()) {
        return fail(ELOOP, concat(printable(shown), ": is in the backing chain of '", printable(base.text()), "'"));
      }
    }
    const auto common = next ? TRY(depth_of(*image, base_identity)) : image->layer_count();
    TRY(store_differences(*image, next.get(), common, executor, options));
  }
  TRY(image->change_backing(request.backing));
  return image->close();
}

}  // namespace

Result<> store_differences(Image& image, Image* next, unsigned common, Executor& executor, const CopyOptions& options) {
  return Rebase(image, next, common).run(executor, options);
}

Result<> rebase_image(const RebaseRequest& request, Executor& executor, const CopyOptions& options) {
  return rebase(request, executor, options);
}

}  // namespace penstock
