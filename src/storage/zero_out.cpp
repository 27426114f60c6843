// SPDX-License-Identifier: Apache-2.0
#include "storage/zero_bytes.hpp"

#include "base/work_report.hpp"

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

Result<> fill_with_zero_bytes(Storage& storage, HostRange range) {
  constexpr std::uint64_t kPiece = 1U << 20U;
  for (std::uint64_t done = 0; done < range.length;) {
    tell_work(done, range.length);
    const auto piece = std::min(kPiece, range.length - done);
    TRY(write_zero_bytes(storage, {range.offset + done, piece}));
    done += piece;
  }
  tell_work(range.length, range.length);
  return {};
}

Result<> zero_out(Storage& storage, HostRange range, Zeroing zeroing) {
  const auto zeroed = storage.write_zeroes(range, zeroing);
  if (zeroed || !zeroed.error().is(EOPNOTSUPP)) return zeroed;
  return write_zero_bytes(storage, range);
}

}  // namespace penstock
