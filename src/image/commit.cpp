// SPDX-License-Identifier: Apache-2.0
/// Writing what an overlay holds into the file below it.
#include "base/text.hpp"
#include "image/chain_opener.hpp"
#include "image/copy_chunks.hpp"
#include "image/layer_copies.hpp"
#include "image/named.hpp"
#include "image/zero_scan.hpp"

namespace penstock {

namespace {

/// Everything that is written below is hidden by the layers above, since only what they answer for is written.
class Commit {
 public:
  /// In `upper` the base is left out: what it does not have is none of ours. Behind `shown_end` no layer shows the
  /// base.
  Commit(Image& upper, Image& base, std::uint64_t shown_end) : upper_(upper), base_(base), shown_end_(shown_end) {}

  [[nodiscard]] Result<> run(Executor& executor, const CopyOptions& options) {
    if (base_.virtual_size() < upper_.virtual_size()) TRY(base_.resize(upper_.virtual_size()));
    TRY(work_in_chunks(
        executor, {.size = upper_.virtual_size(),
                   .chunk_bytes = chunk_bytes_for(base_),
                   .options = options,
                   .skip = [this](GuestRange rest) { return skip(rest); },
                   .work = [this](GuestRange piece, std::span<std::byte> memory) { return work(piece, memory); }}));
    return base_.flush();
  }

 private:
  /// The start of `range` with one answer; nothing to do when it is not present.
  Result<Extent> answer(GuestRange range) {
    Extent extent = TRY(upper_.extent(range));
    if (extent.present) return extent;
    if (range.offset.value >= shown_end_) {
      extent.present = true;
      extent.kind = ExtentKind::zero;
    } else {
      extent.guest.length = std::min(extent.guest.length, shown_end_ - range.offset.value);
    }
    return extent;
  }

  Result<std::uint64_t> skip(GuestRange rest) {
    const Extent extent = TRY(answer(rest));
    if (!extent.present) return extent.guest.length;
    if (!reads_zero(extent)) return 0;
    TRY(base_.write_zeroes(extent.guest, Zeroing::may_unmap));
    return extent.guest.length;
  }

  Result<> work(GuestRange piece, std::span<std::byte> memory) {
    while (!piece.empty()) {
      auto length = TRY(skip(piece));
      if (length == 0) {
        length = TRY(answer(piece)).guest.length;
        TRY(copy({piece.offset, length}, memory.first(length)));
      }
      piece = {piece.offset + length, piece.length - length};
    }
    return {};
  }

  Result<> copy(GuestRange range, std::span<std::byte> bytes) {
    TRY(upper_.read(range.offset, bytes));
    std::span<const std::byte> rest = bytes;
    while (!rest.empty()) {
      const auto run = first_zero_run(range.offset, rest, base_.geometry().allocation_unit);
      TRY(run.zero ? base_.write_zeroes({range.offset, run.length}, Zeroing::may_unmap)
                   : base_.write(range.offset, rest.first(run.length)));
      range.offset += run.length;
      rest = rest.subspan(run.length);
    }
    return {};
  }

  Image& upper_;
  Image& base_;
  const std::uint64_t shown_end_;
};

/// Whether the user means by `wanted` the file `name`, which the image stores as `stored`.
bool means(Opener& opener, const std::string& wanted, const std::string& stored, const ImageName& name) {
  if (wanted.empty() || wanted == stored || wanted == name.text()) return true;
  const auto given = parse_name(wanted);
  if (!given) return false;
  const auto one = opener.identify(*given);
  const auto other = opener.identify(name);
  return one && other && *one == *other;
}

/// Format of a base that the overlay does not name: by its magic, where the overlay says that it has one (QED).
Result<std::string> format_of(Opener& opener, const BackingReference& backing, const ImageName& name) {
  if (!backing.format.empty() || !backing.probe_not_raw) return backing.format;
  const auto storage = TRY(opener.open(name, {.writable = false, .lock = false}, {}));
  const Format* const format = TRY(probe_format(*storage));
  if (format == &raw_format()) return fail(EINVAL, "its format is not stored in the overlay, and it has no magic");
  return std::string(format->name);
}

Result<> commit(const CommitRequest& request, Executor& executor, const CopyOptions& options) {
  const auto files = make_host_opener();
  ChainOpener opener(TRY(named(request.image, parse_name(request.image))),
                     {.format = request.format, .writable = true, .opener = files}, {});
  static_cast<void>(TRY(opener.open_next()));
  const auto top_name = opener.layers().front()->shown;
  BackingReference backing;
  ImageName base_name;
  while (true) {
    backing = opener.layers().back()->driver->backing();
    if (backing.name.empty()) {
      return fail(EINVAL, request.base.empty() ? concat(printable(top_name), ": has no backing file to commit to")
                                               : concat(printable(top_name), ": '", printable(request.base),
                                                        "' is not in its backing chain"));
    }
    base_name = TRY(named(top_name, named(concat("backing file '", backing.name, "'"), opener.next_name())));
    if (means(*files, request.base, backing.name, base_name)) break;
    static_cast<void>(TRY(opener.open_next()));
  }
  // Opened by itself, for writing; its own chain comes with it.
  const auto in_base = [&]<typename T>(Result<T> result) {
    return named(top_name, named(concat("backing file '", base_name.text(), "'"), std::move(result)));
  };
  const ImageOptions base_options{
      .format = TRY(in_base(format_of(*files, backing, base_name))), .writable = true, .opener = files};
  const auto base = TRY(named(top_name, Image::open(base_name, base_options)));
  auto shown_end = opener.layers().front()->driver->virtual_size();
  for (const auto& layer : opener.layers()) shown_end = std::min(shown_end, layer->driver->virtual_size());
  const auto upper = make_image(opener.layers(), {.writable = true});
  TRY(copy_down(*upper, *base, shown_end, executor, options));
  // The base is durable: from here on, what the overlay forgets is what the base shows.
  if (!request.keep && request.base.empty()) {
    const auto emptied = upper->make_empty();
    // A format that cannot forget keeps showing the same.
    if (!emptied && !emptied.error().is(EOPNOTSUPP)) return emptied;
  }
  TRY(upper->close());
  return base->close();
}

}  // namespace

Result<> copy_down(Image& upper, Image& base, std::uint64_t shown_end, Executor& executor, const CopyOptions& options) {
  return Commit(upper, base, shown_end).run(executor, options);
}

Result<> commit_image(const CommitRequest& request, Executor& executor, const CopyOptions& options) {
  return commit(request, executor, options);
}

}  // namespace penstock
