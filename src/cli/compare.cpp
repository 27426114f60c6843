// SPDX-License-Identifier: Apache-2.0
/// penstock compare: whether two images show the same disk, with qemu-img's words and exit statuses.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/human.hpp"
#include "cli/image_flags.hpp"
#include "cli/progress.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

namespace penstock::cli {

namespace {

constexpr int kDifferent = 1;
constexpr int kCannotOpen = 2;
constexpr int kCannotMap = 3;
constexpr int kCannotRead = 4;

constexpr std::uint64_t kBufferBytes = 2U << 20U;
constexpr std::uint64_t kSectorBytes = 512;  ///< qemu-img reports a mismatch by the sector it lies in

struct Flags {
  std::string image_1;
  std::string image_2;
  std::string format_1;
  std::string format_2;
  bool strict = false;
  bool progress = false;
  bool quiet = false;
  bool force_share = false;
};

/// How one image answers for a run of the disk.
struct Status {
  std::uint64_t length = 0;
  bool zero = false;
  bool present = false;
};

/// Ends a comparison.
struct Stop {
  int status;
  std::string error = {};  ///< still to be printed, when the progress bar is out of the way
};
template <typename T = void>
using Step = std::expected<T, Stop>;

class Side {
 public:
  explicit Side(Image& image) : image_(image), buffer_(kBufferBytes) {}

  [[nodiscard]] std::uint64_t size() const { return image_.virtual_size(); }

  [[nodiscard]] Step<Status> status(std::uint64_t offset, std::uint64_t length) {
    const auto extent = image_.extent({{offset}, length});
    if (!extent) return stop(kCannotMap, extent.error());
    return Status{.length = extent->guest.length,
                  .zero = extent->kind == ExtentKind::zero || extent->kind == ExtentKind::unallocated,
                  .present = extent->present};
  }

  /// `length` is at most kBufferBytes; valid up to the next call.
  [[nodiscard]] Step<std::span<const std::byte>> bytes(std::uint64_t offset, std::uint64_t length) {
    const std::span<std::byte> part(buffer_.data(), static_cast<std::size_t>(length));
    const auto done = image_.read({offset}, part);
    if (!done) return stop(kCannotRead, done.error());
    return part;
  }

 private:
  [[nodiscard]] static std::unexpected<Stop> stop(int status, const Error& error) {
    return std::unexpected(Stop{status, error.message()});
  }

  Image& image_;
  std::vector<std::byte> buffer_;
};

class Comparison {
 public:
  Comparison(Side& first, Side& second, const Flags& flags) : first_(first), second_(second), flags_(flags) {}

  [[nodiscard]] Step<> run() {
    show_progress(0);
    const std::uint64_t common = std::min(first_.size(), second_.size());
    if (flags_.strict && first_.size() != second_.size()) return differ("Strict mode: Image size mismatch!\n");
    for (std::uint64_t offset = 0; offset < common;) {
      const auto length = compare_run(offset, common - offset);
      if (!length) return std::unexpected(length.error());
      offset += *length;
      show_progress(offset);
    }
    if (first_.size() != second_.size()) {
      say("Warning: Image size mismatch!\n");
      Side& longer = first_.size() > second_.size() ? first_ : second_;
      for (std::uint64_t offset = common; offset < longer.size();) {
        const auto length = expect_zero_run(longer, offset);
        if (!length) return std::unexpected(length.error());
        offset += *length;
        show_progress(offset);
      }
    }
    bar_.finish();
    say("Images are identical.\n");
    return {};
  }

 private:
  /// Gives how far it came.
  [[nodiscard]] Step<std::uint64_t> compare_run(std::uint64_t offset, std::uint64_t length) {
    const auto status_1 = first_.status(offset, length);
    if (!status_1) return std::unexpected(status_1.error());
    const auto status_2 = second_.status(offset, length);
    if (!status_2) return std::unexpected(status_2.error());
    const std::uint64_t both = std::min(status_1->length, status_2->length);
    if (flags_.strict && (status_1->zero != status_2->zero || status_1->present != status_2->present)) {
      const auto differs = differ(concat("Strict mode: Offset ", offset, " block status mismatch!\n"));
      return std::unexpected(differs.error());
    }
    // What both know to be zero costs nothing, however long it is.
    if (status_1->zero && status_2->zero) return both;
    const std::uint64_t part = std::min(both, kBufferBytes);
    if (status_1->zero) return expect_zeroes(second_, offset, part);
    if (status_2->zero) return expect_zeroes(first_, offset, part);
    return expect_equal(offset, part);
  }

  [[nodiscard]] Step<std::uint64_t> expect_equal(std::uint64_t offset, std::uint64_t length) {
    const auto bytes_1 = first_.bytes(offset, length);
    if (!bytes_1) return std::unexpected(bytes_1.error());
    const auto bytes_2 = second_.bytes(offset, length);
    if (!bytes_2) return std::unexpected(bytes_2.error());
    if (std::memcmp(bytes_1->data(), bytes_2->data(), bytes_1->size()) == 0) return length;
    const auto [where, other] = std::mismatch(bytes_1->begin(), bytes_1->end(), bytes_2->begin());
    return mismatch_at(offset + static_cast<std::uint64_t>(where - bytes_1->begin()));
  }

  [[nodiscard]] Step<std::uint64_t> expect_zeroes(Side& side, std::uint64_t offset, std::uint64_t length) {
    const auto bytes = side.bytes(offset, length);
    if (!bytes) return std::unexpected(bytes.error());
    // Equal to itself shifted by one and zero at the start: all zero, at memcmp's speed.
    if (bytes->front() == std::byte{0} && std::memcmp(bytes->data(), bytes->data() + 1, bytes->size() - 1) == 0) {
      return length;
    }
    const auto where = std::find_if(bytes->begin(), bytes->end(), [](std::byte byte) { return byte != std::byte{0}; });
    return mismatch_at(offset + static_cast<std::uint64_t>(where - bytes->begin()));
  }

  [[nodiscard]] Step<std::uint64_t> expect_zero_run(Side& longer, std::uint64_t offset) {
    const auto status = longer.status(offset, longer.size() - offset);
    if (!status) return std::unexpected(status.error());
    if (status->zero) return status->length;
    return expect_zeroes(longer, offset, std::min(status->length, kBufferBytes));
  }

  [[nodiscard]] std::unexpected<Stop> mismatch_at(std::uint64_t offset) {
    return std::unexpected(
        differ(concat("Content mismatch at offset ", align_down(offset, kSectorBytes), "!\n")).error());
  }

  [[nodiscard]] Step<> differ(const std::string& line) {
    say(line);
    return std::unexpected(Stop{kDifferent});
  }

  void say(const std::string& line) {
    bar_.make_way();
    if (!flags_.quiet) print(line);
  }

  void show_progress(std::uint64_t offset) { bar_.update(offset, std::max(first_.size(), second_.size())); }

  Side& first_;
  Side& second_;
  const Flags& flags_;
  ProgressBar bar_{"Comparing", progress_wish(flags_.quiet, flags_.progress)};
};

int run_compare(const Flags& flags) {
  const auto image_1 = Image::open(flags.image_1, reading(flags.format_1, flags.force_share));
  if (!image_1) return static_cast<void>(report(image_1.error())), kCannotOpen;
  const auto image_2 = Image::open(flags.image_2, reading(flags.format_2, flags.force_share));
  if (!image_2) return static_cast<void>(report(image_2.error())), kCannotOpen;
  Side first(**image_1);
  Side second(**image_2);
  const auto result = Comparison(first, second, flags).run();
  if (!result && !result.error().error.empty()) print_error(result.error().error);
  const int status = result ? kSuccess : result.error().status;
  // What could not be told is no difference.
  return finish_output(status) == status ? status : kCannotRead;
}

}  // namespace

Command compare_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "compare",
          .help = "Compare the disks that two images show",
          .options =
              {
                  {"-f,--format", "FMT", &flags->format_1, "Format of IMAGE1"},
                  {"-F,--second-format", "FMT", &flags->format_2, "Format of IMAGE2"},
                  {"-s,--strict", "", &flags->strict, "Also fail where size or allocation differ"},
                  {"-p,--progress", "", &flags->progress,
                   "Show how far the comparison is, also elsewhere than on a terminal"},
                  quiet_option(flags->quiet),
                  share_option(flags->force_share),
                  {"image1", "IMAGE1", &flags->image_1, "The first image", {.required = true}},
                  {"image2", "IMAGE2", &flags->image_2, "The second image", {.required = true}},
              },
          .run = runs(run_compare, flags)};
}

}  // namespace penstock::cli
