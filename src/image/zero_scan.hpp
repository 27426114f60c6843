// SPDX-License-Identifier: Apache-2.0
/// Zero detection: which clusters of a buffer are all zero.
#pragma once

#include <penstock/range.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

/// Whether every byte is zero; true for none. Any alignment, any length. Stops at the first block that is not.
[[nodiscard]] bool is_all_zero(std::span<const std::byte> bytes);

/// A run of neighbouring clusters that are all zero, or of such that are not.
struct ZeroRun {
  bool zero = false;
  std::uint64_t length = 0;  ///< bytes, at least 1 unless there are none
};

/// The run at the start of `bytes`, which lie at guest offset `at`. Runs end at multiples of `unit` (a power of two,
/// the cluster), or with the bytes; what the bytes have of a cluster stands for it.
[[nodiscard]] ZeroRun first_zero_run(GuestOffset at, std::span<const std::byte> bytes, std::uint32_t unit);

/// One way to test for zero. The fastest that this processor has is taken when the program starts.
struct ZeroKernel {
  std::string_view name;
  bool (*is_all_zero)(const std::byte* bytes, std::size_t length);
};

/// Those that this processor can run, the fastest first, the portable one last. For tests and benchmarks.
[[nodiscard]] std::span<const ZeroKernel> zero_kernels();

}  // namespace penstock
