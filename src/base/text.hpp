// SPDX-License-Identifier: Apache-2.0
/// Small pieces of text for messages.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

namespace text_detail {
inline void append(std::string& out, std::string_view piece) {
  out.append(piece);
}
inline void append(std::string& out, char piece) {
  out.push_back(piece);
}
template <std::integral Integer>
  requires(!std::same_as<Integer, char> && !std::same_as<Integer, bool>)
void append(std::string& out, Integer piece) {
  out.append(std::to_string(piece));
}
}  // namespace text_detail

/// Strings, characters and integers, one after the other.
template <typename... Pieces>
[[nodiscard]] std::string concat(const Pieces&... pieces) {
  std::string out;
  (text_detail::append(out, pieces), ...);
  return out;
}

/// "0x50200"
[[nodiscard]] std::string hex(std::uint64_t value);

/// `text` with bytes that would break a line or drive a terminal written as \xNN, so that a name from an image can be
/// printed.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace penstock
