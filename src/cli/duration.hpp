// SPDX-License-Identifier: Apache-2.0
/// Spans of time as people say them.
#pragma once

#include <penstock/error.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::cli {

/// "90" (seconds), "1.5", "500ms", "30s", "5m", "2h", "1d". Errors: EINVAL for what is no span, ERANGE for more than
/// ten years; the message repeats the text.
[[nodiscard]] Result<std::chrono::milliseconds> parse_duration(std::string_view text);

/// "8s", "5m 03s", "2h 07m", "3d 4h"; never more than two units, rounded to the smaller one.
[[nodiscard]] std::string human_duration(double seconds);

/// "850 ns", "92 us", "1.24 ms", "2.5 s": three significant digits.
[[nodiscard]] std::string human_latency(std::uint64_t nanoseconds);

}  // namespace penstock::cli
