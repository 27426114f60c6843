// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <array>
#include <charconv>

namespace penstock {

std::string hex(std::uint64_t value) {
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, 16).ptr;
  return "0x" + std::string(digits.data(), end);
}

std::string printable(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte != 0x7f) {
      out.push_back(character);
    } else {
      out.append("\\x").push_back(kDigits[byte >> 4U]);
      out.push_back(kDigits[byte & 0xfU]);
    }
  }
  return out;
}

}  // namespace penstock
