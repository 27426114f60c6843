// SPDX-License-Identifier: Apache-2.0
#include "storage/zero_bytes.hpp"

#include <array>

namespace penstock {

Result<> write_zero_bytes(Storage& storage, HostRange range) {
  alignas(4096) static constexpr std::array<std::byte, 64U << 10U> kZeroes{};
  while (!range.empty()) {
    const auto piece = std::min<std::uint64_t>(kZeroes.size(), range.length);
    TRY(storage.write(range.offset, std::span(kZeroes).first(piece)));
    range = {range.offset + piece, range.length - piece};
  }
  return {};
}

Result<> zero_out(Storage& storage, HostRange range, Zeroing zeroing) {
  const auto zeroed = storage.write_zeroes(range, zeroing);
  if (zeroed || !zeroed.error().is(EOPNOTSUPP)) return zeroed;
  return write_zero_bytes(storage, range);
}

}  // namespace penstock
