// SPDX-License-Identifier: Apache-2.0
#include "image/zero_scan.hpp"

#include <array>
#include <cstdint>
#include <cstring>

namespace penstock {

bool is_all_zero(std::span<const std::byte> bytes) {
  // Eight words a turn: the loads are independent, so that any compiler makes vector code of it, and data that is not
  // zero is mostly told in the first turn.
  constexpr std::size_t kBlock = 64;
  while (bytes.size() >= kBlock) {
    std::array<std::uint64_t, kBlock / sizeof(std::uint64_t)> words;
    std::memcpy(words.data(), bytes.data(), kBlock);
    std::uint64_t any = 0;
    for (const auto word : words) any |= word;
    if (any != 0) return false;
    bytes = bytes.subspan(kBlock);
  }
  std::byte any{0};
  for (const auto byte : bytes) any |= byte;
  return any == std::byte{0};
}

}  // namespace penstock
