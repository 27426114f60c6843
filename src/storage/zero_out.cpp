// SPDX-License-Identifier: Apache-2.0
#include <penstock/storage.hpp>

#include <array>

namespace penstock {

Result<> zero_out(Storage& storage, HostRange range, Zeroing zeroing) {
  const auto zeroed = storage.write_zeroes(range, zeroing);
  if (zeroed || !zeroed.error().is(EOPNOTSUPP)) return zeroed;
  alignas(4096) static constexpr std::array<std::byte, 64U << 10U> kZeroes{};
  while (!range.empty()) {
    const auto piece = std::min<std::uint64_t>(kZeroes.size(), range.length);
    TRY(storage.write(range.offset, std::span(kZeroes).first(piece)));
    range = {range.offset + piece, range.length - piece};
  }
  return {};
}

}  // namespace penstock
