// SPDX-License-Identifier: Apache-2.0
/// Offsets and ranges: guest (in the virtual disk) and host (in a file on the host) never mix.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>

namespace penstock {

/// A byte position. Unit: bytes.
template <typename Space>
struct Offset {
  std::uint64_t value = 0;

  friend constexpr auto operator<=>(Offset, Offset) = default;
  friend constexpr Offset operator+(Offset at, std::uint64_t bytes) { return {at.value + bytes}; }
  friend constexpr Offset operator-(Offset at, std::uint64_t bytes) { return {at.value - bytes}; }
  /// Bytes from `from` to `to`; `from` must not lie behind `to`.
  friend constexpr std::uint64_t operator-(Offset to, Offset from) { return to.value - from.value; }
  constexpr Offset& operator+=(std::uint64_t bytes) {
    value += bytes;
    return *this;
  }
};

/// A run of bytes [offset, offset + length). The end must fit in 64 bits: check with fits() what comes from outside.
template <typename Space>
struct Range {
  Offset<Space> offset;
  std::uint64_t length = 0;

  friend constexpr bool operator==(const Range&, const Range&) = default;
  [[nodiscard]] constexpr Offset<Space> end() const { return offset + length; }
  [[nodiscard]] constexpr bool empty() const { return length == 0; }
  [[nodiscard]] constexpr bool contains(const Range& other) const {
    return other.offset >= offset && other.end() <= end();
  }
  [[nodiscard]] constexpr bool overlaps(const Range& other) const {
    return offset < other.end() && other.offset < end();
  }
  /// What lies in both; empty when nothing does.
  [[nodiscard]] constexpr Range intersection(const Range& other) const {
    const auto from = std::max(offset, other.offset);
    const auto to = std::min(end(), other.end());
    return from < to ? Range{from, to - from} : Range{from, 0};
  }
};

/// What an offset counts in: the virtual disk, or a file or device of the host.
struct GuestSpace;
struct HostSpace;
using GuestOffset = Offset<GuestSpace>;  ///< in the virtual disk
using HostOffset = Offset<HostSpace>;    ///< in a file or device on the host
using GuestRange = Range<GuestSpace>;    ///< of the virtual disk
using HostRange = Range<HostSpace>;      ///< of a file or device on the host

/// Whether [offset, offset + length) ends at or before `limit`, without overflow.
[[nodiscard]] constexpr bool fits(std::uint64_t offset, std::uint64_t length, std::uint64_t limit) {
  return offset <= limit && length <= limit - offset;
}

/// `unit` need not be a power of two, but must not be 0.
[[nodiscard]] constexpr std::uint64_t align_down(std::uint64_t value, std::uint64_t unit) {
  return value - value % unit;
}
/// The caller knows that the result fits in 64 bits.
[[nodiscard]] constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t unit) {
  return align_down(value + (unit - 1), unit);
}
[[nodiscard]] constexpr bool is_aligned(std::uint64_t value, std::uint64_t unit) {
  return value % unit == 0;
}
[[nodiscard]] constexpr std::uint64_t divide_up(std::uint64_t value, std::uint64_t unit) {
  return value / unit + (value % unit != 0 ? 1 : 0);
}

/// The smallest range of whole units that contains `range`.
template <typename Space>
[[nodiscard]] constexpr Range<Space> widen(Range<Space> range, std::uint64_t unit) {
  const auto from = align_down(range.offset.value, unit);
  return {{from}, align_up(range.end().value, unit) - from};
}
/// The largest range of whole units inside `range`; empty when there is none.
template <typename Space>
[[nodiscard]] constexpr Range<Space> narrow(Range<Space> range, std::uint64_t unit) {
  const auto from = align_up(range.offset.value, unit);
  const auto to = align_down(range.end().value, unit);
  return {{from}, to > from ? to - from : 0};
}

}  // namespace penstock
