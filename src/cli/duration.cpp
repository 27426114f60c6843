// SPDX-License-Identifier: Apache-2.0
#include "cli/duration.hpp"

#include "cli/human.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace penstock::cli {

namespace {

constexpr double kTenYearsInSeconds = 10.0 * 366 * 24 * 3600;

struct Unit {
  std::string_view suffix;
  double seconds;
};
constexpr std::array<Unit, 6> kUnits{
    {{"", 1.0}, {"ms", 0.001}, {"s", 1.0}, {"m", 60.0}, {"h", 3600.0}, {"d", 24 * 3600.0}}};

}  // namespace

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const auto no_span = [text] {
    return fail(EINVAL, concat("invalid time '", text, "': seconds, or a number with ms, s, m, h or d"));
  };
  // from_chars() would take "inf", "nan" and signs too.
  if (text.empty() || text.front() < '0' || text.front() > '9') return no_span();
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  const auto* const unit = std::ranges::find(kUnits, suffix, &Unit::suffix);
  if (unit == kUnits.end()) return no_span();
  if (problem != std::errc() || value * unit->seconds > kTenYearsInSeconds) {
    return fail(ERANGE, concat("time '", text, "' is too long"));
  }
  return std::chrono::milliseconds(std::llround(value * unit->seconds * 1000));
}

std::string human_duration(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::clamp(seconds, 0.0, 1e15) + 0.5);
  if (whole < 60) return concat(whole, "s");
  const auto two = [](std::uint64_t value) { return concat(value < 10 ? "0" : "", value); };
  if (whole < 3600) return concat(whole / 60, "m ", two(whole % 60), "s");
  const std::uint64_t minutes = (whole + 30) / 60;
  if (minutes < 24 * 60) return concat(minutes / 60, "h ", two(minutes % 60), "m");
  const std::uint64_t hours = (whole + 1800) / 3600;
  return concat(hours / 24, "d ", hours % 24, "h");
}

std::string human_latency(std::uint64_t nanoseconds) {
  constexpr std::array<const char*, 4> kNames{"ns", "us", "ms", "s"};
  auto value = static_cast<double>(nanoseconds);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kNames.size()) {
    value /= 1000;
    ++unit;
  }
  return printf_text(value >= 999.5 ? "%.0f %s" : "%.3g %s", value, kNames.at(unit));
}

}  // namespace penstock::cli
