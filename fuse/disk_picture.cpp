// SPDX-License-Identifier: Apache-2.0
#include "fuse/disk_picture.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>

namespace penstock::fuse {

namespace {

enum class Part : std::uint8_t { data, zero, missing, known_zero };
constexpr std::size_t kParts = 4;

Part part_of(const Extent& extent) {
  const bool reads_zero = extent.kind == ExtentKind::zero || extent.kind == ExtentKind::unallocated;
  if (extent.present && extent.depth == 0) return reads_zero ? Part::zero : Part::data;
  return reads_zero ? Part::known_zero : Part::missing;
}

using Bytes = std::array<std::uint64_t, kParts>;

/// The same from places spread over the disk: a stream fills it from the front, so that its start says little.
Result<Bytes> sample(Image& image) {
  constexpr std::uint64_t kPlaces = 2048;
  Bytes bytes{};
  const auto size = image.virtual_size();
  const auto step = divide_up(size, kPlaces);
  for (std::uint64_t at = 0; at < size; at += step) {
    const auto place = std::min(step, size - at);
    const auto extent = TRY(image.extent({{at + place / 2}, place - place / 2}));
    bytes[static_cast<std::size_t>(part_of(extent))] += place;
  }
  return bytes;
}

}  // namespace

Result<Json> describe_provisioned(Image& image) {
  constexpr std::chrono::milliseconds kPatience{50};
  const auto until = std::chrono::steady_clock::now() + kPatience;
  Bytes bytes{};
  const auto size = image.virtual_size();
  std::uint64_t at = 0;
  while (at < size && (at == 0 || std::chrono::steady_clock::now() < until)) {
    const auto extent = TRY(image.extent({{at}, size - at}));
    bytes[static_cast<std::size_t>(part_of(extent))] += extent.guest.length;
    at += extent.guest.length;
  }
  if (at < size) bytes = TRY(sample(image));
  Json out = {{"data", bytes[0]}, {"zero", bytes[1]}, {"missing", bytes[2]}, {"known-zero", bytes[3]}};
  out["estimated"] = at < size;
  return out;
}

Result<std::string> draw_cells(Image& image, const Statistics& statistics, std::uint32_t cells,
                               std::optional<std::uint64_t> copying_at) {
  constexpr unsigned kSamples = 8;
  const auto size = image.virtual_size();
  const auto start_of = [&](std::uint64_t cell) {
    return static_cast<std::uint64_t>(static_cast<long double>(size) * static_cast<long double>(cell) /
                                      static_cast<long double>(cells));
  };
  std::string out(cells, 'z');
  Extent known;
  for (std::uint32_t cell = 0; cell < cells && size != 0; ++cell) {
    const auto start = start_of(cell);
    const auto end = std::clamp(start_of(cell + 1), start + 1, size);
    if (start >= size) break;
    std::array<std::uint64_t, kParts> bytes{};
    auto at = start;
    for (unsigned i = 0; i < kSamples && at < end; ++i) {
      if (known.guest.empty() || !known.guest.contains(GuestRange{{at}, 1})) {
        const auto extent = image.extent({{at}, size - at});
        if (!extent) {
          // What cannot be told is still to come from below, as far as anybody knows.
          ++bytes[static_cast<std::size_t>(Part::missing)];
          break;
        }
        known = *extent;
      }
      const auto covered = std::min(known.guest.end().value, end) - at;
      bytes[static_cast<std::size_t>(part_of(known))] += covered;
      at += covered;
    }
    const auto most = static_cast<Part>(std::max_element(bytes.begin(), bytes.end()) - bytes.begin());
    if (copying_at && *copying_at >= start && *copying_at < end) {
      out[cell] = '>';
    } else if (statistics.was_written(cell, cells)) {
      out[cell] = 'w';
    } else {
      out[cell] = most == Part::missing ? '.' : most == Part::data ? '#' : 'z';
    }
  }
  return out;
}

}  // namespace penstock::fuse
