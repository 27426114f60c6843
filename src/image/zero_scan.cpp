// SPDX-License-Identifier: Apache-2.0
#include "image/zero_scan.hpp"

#include <algorithm>

namespace penstock {

bool is_all_zero(std::span<const std::byte> bytes) {
  static const auto kernel = zero_kernels().front().is_all_zero;
  return kernel(bytes.data(), bytes.size());
}

ZeroRun first_zero_run(GuestOffset at, std::span<const std::byte> bytes, std::uint32_t unit) {
  ZeroRun run;
  while (run.length < bytes.size()) {
    const auto offset = at.value + run.length;
    const auto piece = std::min<std::uint64_t>(bytes.size() - run.length, unit - offset % unit);
    const bool zero = is_all_zero(bytes.subspan(run.length, piece));
    if (run.length != 0 && zero != run.zero) break;
    run.zero = zero;
    run.length += piece;
  }
  return run;
}

}  // namespace penstock
