// SPDX-License-Identifier: Apache-2.0
/// Integers in bytes, at any alignment. The caller knows that the span is long enough.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>

namespace penstock {

template <std::unsigned_integral Integer>
[[nodiscard]] constexpr Integer byte_swap(Integer value) {
  if constexpr (sizeof(Integer) == 1) return value;
  if constexpr (sizeof(Integer) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(Integer) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(Integer) == 8) return __builtin_bswap64(value);
}

template <std::endian order, std::unsigned_integral Integer>
[[nodiscard]] Integer load(std::span<const std::byte> bytes, std::size_t offset) {
  Integer value;
  std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
  return order == std::endian::native ? value : byte_swap(value);
}

template <std::endian order, std::unsigned_integral Integer>
void store(std::span<std::byte> bytes, std::size_t offset, Integer value) {
  if (order != std::endian::native) value = byte_swap(value);
  std::memcpy(bytes.subspan(offset, sizeof value).data(), &value, sizeof value);
}

template <std::unsigned_integral Integer>
[[nodiscard]] Integer load_be(std::span<const std::byte> bytes, std::size_t offset) {
  return load<std::endian::big, Integer>(bytes, offset);
}
template <std::unsigned_integral Integer>
void store_be(std::span<std::byte> bytes, std::size_t offset, Integer value) {
  store<std::endian::big, Integer>(bytes, offset, value);
}
template <std::unsigned_integral Integer>
[[nodiscard]] Integer load_le(std::span<const std::byte> bytes, std::size_t offset) {
  return load<std::endian::little, Integer>(bytes, offset);
}
template <std::unsigned_integral Integer>
void store_le(std::span<std::byte> bytes, std::size_t offset, Integer value) {
  store<std::endian::little, Integer>(bytes, offset, value);
}

}  // namespace penstock
