// SPDX-License-Identifier: Apache-2.0
#include <penstock/copy_amounts.hpp>

#include <algorithm>
#include <optional>

namespace penstock {

namespace {

struct Walk {
  Image& image;
  const Layer* base;
  GuestOffset passed;
};

/// Adds what the start of `range` is, as if it were so for `weight` bytes, or for as long as the answer holds. Gives
/// how long that is.
Result<std::uint64_t> add_start(const Walk& walk, GuestRange range, std::optional<std::uint64_t> weight,
                                CopyAmounts& amounts) {
  const auto missing = TRY(walk.image.missing(range, walk.base));
  if (missing.missing) {
    if (!missing.known_zero && range.offset >= walk.passed) amounts.to_copy += weight.value_or(missing.length);
    return missing.length;
  }
  // The top has it, or it stays below, or all are known to have zero there.
  const auto extent = TRY(walk.image.extent({range.offset, missing.length}));
  const bool data = extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed;
  if (data && extent.depth == 0) amounts.data += weight.value_or(extent.guest.length);
  return extent.guest.length;
}

Result<CopyAmounts> sample(const Walk& walk) {
  constexpr std::uint64_t kPlaces = 2048;
  CopyAmounts amounts{.estimated = true};
  const auto size = walk.image.virtual_size();
  const std::uint64_t cluster = walk.image.geometry().cluster_size;
  const auto step = std::max(align_up(divide_up(size, kPlaces), cluster), cluster);
  for (std::uint64_t at = 0; at < size; at += step) {
    const auto place = std::min(step, size - at);
    const auto middle = at + align_down(place / 2, cluster);
    static_cast<void>(TRY(add_start(walk, {{middle}, std::min(cluster, size - middle)}, place, amounts)));
  }
  return amounts;
}

}  // namespace

unsigned percent_of(const CopyAmounts& amounts) {
  if (amounts.to_copy == 0) return 100;
  const auto all = static_cast<long double>(amounts.data) + static_cast<long double>(amounts.to_copy);
  return std::min(99U, static_cast<unsigned>(static_cast<long double>(amounts.data) / all * 100));
}

Result<CopyAmounts> count_amounts(Image& image, const Layer* base, GuestOffset passed,
                                  std::chrono::milliseconds patience) {
  // Not a Clock: this bounds the work, and a test's time stands still.
  const auto until = std::chrono::steady_clock::now() + patience;
  const Walk walk{image, base, passed};
  CopyAmounts amounts;
  const auto size = image.virtual_size();
  for (std::uint64_t at = 0; at < size;) {
    if (std::chrono::steady_clock::now() >= until) return sample(walk);
    // Not across the place from which on it counts.
    const auto end = at < passed.value ? std::min(size, passed.value) : size;
    at += TRY(add_start(walk, {{at}, end - at}, std::nullopt, amounts));
  }
  return amounts;
}

}  // namespace penstock
