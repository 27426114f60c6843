// SPDX-License-Identifier: Apache-2.0
#include "cli/size.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

namespace penstock::cli {

namespace {

constexpr std::uint64_t kSizeMax = INT64_MAX;

Failure no_size(std::string_view text) {
  return fail(EINVAL, concat("invalid size '", text, "': a number with an optional suffix k, M, G, T, P or E"));
}

Failure too_large(std::string_view text) {
  return fail(ERANGE, concat("size '", text, "' is too large"));
}

/// The bits that a suffix shifts by; nothing for a character that is no suffix.
std::optional<unsigned> suffix_shift(char suffix) {
  switch (suffix) {
    case 'b':
    case 'B':
      return 0;
    case 'k':
    case 'K':
      return 10;
    case 'm':
    case 'M':
      return 20;
    case 'g':
    case 'G':
      return 30;
    case 't':
    case 'T':
      return 40;
    case 'p':
    case 'P':
      return 50;
    case 'e':
    case 'E':
      return 60;
    default:
      return std::nullopt;
  }
}

Result<std::uint64_t> parse_hexadecimal(std::string_view text, std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (problem == std::errc::result_out_of_range) return too_large(text);
  if (problem != std::errc() || end != digits.data() + digits.size()) return no_size(text);
  if (value > kSizeMax) return too_large(text);
  return value;
}

/// `digits` after the decimal point, as a part of 2^shift, rounded down. Digits past the 18th cannot matter.
std::uint64_t fraction_of(std::string_view digits, unsigned shift) {
  std::uint64_t numerator = 0;
  std::uint64_t denominator = 1;
  for (const char digit : digits.substr(0, 18)) {
    numerator = numerator * 10 + static_cast<std::uint64_t>(digit - '0');
    denominator *= 10;
  }
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(numerator) << shift) / denominator);
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0X")) return parse_hexadecimal(text, text.substr(2));
  constexpr std::string_view kDigits = "0123456789";
  std::string_view rest = text;
  const auto take_digits = [&rest, kDigits] {
    const auto digits = rest.substr(0, std::min(rest.find_first_not_of(kDigits), rest.size()));
    rest.remove_prefix(digits.size());
    return digits;
  };
  const auto whole = take_digits();
  if (whole.empty()) return no_size(text);
  std::string_view fraction;
  const bool has_point = rest.starts_with('.');
  if (has_point) {
    rest.remove_prefix(1);
    fraction = take_digits();
  }
  unsigned shift = 0;
  if (!rest.empty()) {
    const auto found = suffix_shift(rest.front());
    if (!found || rest.size() != 1) return no_size(text);
    shift = *found;
  }
  // Half a byte is a slip of the finger.
  if (has_point && shift == 0) return no_size(text);
  std::uint64_t value = 0;
  if (std::from_chars(whole.data(), whole.data() + whole.size(), value).ec != std::errc()) return too_large(text);
  const std::uint64_t extra = fraction_of(fraction, shift);
  if (value > ((kSizeMax - extra) >> shift)) return too_large(text);
  return (value << shift) + extra;
}

}  // namespace penstock::cli
