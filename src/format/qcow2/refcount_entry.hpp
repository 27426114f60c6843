// SPDX-License-Identifier: Apache-2.0
/// One count in a refcount block. Source: penstock-formats(5), "qcow2: refcounts".
#pragma once

#include "base/endian.hpp"

#include <cstdint>
#include <span>

namespace penstock::qcow2 {

/// `order` is log2 of the width in bits, 0 to 6; `index` counts entries, not bytes.
[[nodiscard]] inline std::uint64_t load_refcount(std::span<const std::byte> block, std::uint32_t order,
                                                 std::uint64_t index) {
  switch (order) {
    case 3:
      return load_be<std::uint8_t>(block, index);
    case 4:
      return load_be<std::uint16_t>(block, index * 2);
    case 5:
      return load_be<std::uint32_t>(block, index * 4);
    case 6:
      return load_be<std::uint64_t>(block, index * 8);
    default:
      break;
  }
  // Narrower than a byte: entry 0 lies in the least significant bits.
  const std::uint32_t bits = 1U << order;
  const std::uint64_t bit = index * bits;
  const auto byte = std::to_integer<std::uint32_t>(block[bit / 8]);
  return (byte >> (bit % 8)) & ((1U << bits) - 1);
}

/// `value` fits the width.
inline void store_refcount(std::span<std::byte> block, std::uint32_t order, std::uint64_t index, std::uint64_t value) {
  switch (order) {
    case 3:
      return store_be(block, index, static_cast<std::uint8_t>(value));
    case 4:
      return store_be(block, index * 2, static_cast<std::uint16_t>(value));
    case 5:
      return store_be(block, index * 4, static_cast<std::uint32_t>(value));
    case 6:
      return store_be(block, index * 8, value);
    default:
      break;
  }
  const std::uint32_t bits = 1U << order;
  const std::uint64_t bit = index * bits;
  const std::uint32_t mask = ((1U << bits) - 1) << (bit % 8);
  const auto byte = std::to_integer<std::uint32_t>(block[bit / 8]);
  block[bit / 8] = static_cast<std::byte>((byte & ~mask) | (static_cast<std::uint32_t>(value) << (bit % 8)));
}

}  // namespace penstock::qcow2
