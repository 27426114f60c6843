// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.hpp"

#include "base/text.hpp"

#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

namespace penstock::cli {

namespace {

struct Character {
  char32_t code = 0;
  std::size_t length = 1;  ///< bytes
};

/// The first character of `text`, which is not empty; a byte that begins none stands for itself.
Character first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t length = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (length == 1 || length > text.size()) return {lead, 1};
  auto code = static_cast<char32_t>(lead & (0xffU >> (length + 1)));
  for (std::size_t at = 1; at < length; ++at) {
    code = (code << 6U) | (static_cast<unsigned char>(text[at]) & 0x3fU);
  }
  return {code, length};
}

struct CodeRange {
  char32_t first;
  char32_t last;
};
// The blocks that matter in file names; from Unicode's EastAsianWidth.txt (W, F).
constexpr std::array<CodeRange, 9> kWide{{{0x1100, 0x115f},
                                          {0x2e80, 0x303e},
                                          {0x3041, 0xa4cf},
                                          {0xac00, 0xd7a3},
                                          {0xf900, 0xfaff},
                                          {0xfe30, 0xfe6f},
                                          {0xff00, 0xff60},
                                          {0x1f300, 0x1f64f},
                                          {0x20000, 0x3fffd}}};
constexpr std::array<CodeRange, 3> kCombining{{{0x300, 0x36f}, {0x200b, 0x200f}, {0xfe00, 0xfe0f}}};

std::size_t columns_of(char32_t code) {
  const auto holds = [code](const CodeRange& range) { return code >= range.first && code <= range.last; };
  if (std::ranges::any_of(kCombining, holds)) return 0;
  return std::ranges::any_of(kWide, holds) ? 2 : 1;
}

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

TerminalSize terminal_size(int descriptor) {
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {.columns = size.ws_col, .rows = size.ws_row};
}

bool utf8_locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = variable(name);
    if (value.empty()) continue;
    return value.ends_with("UTF-8") || value.ends_with("utf8") || value.ends_with("utf-8") || value.ends_with("UTF8");
  }
  return false;
}

bool colours_wanted() {
  const std::string_view terminal = variable("TERM");
  return variable("NO_COLOR").empty() && !terminal.empty() && terminal != "dumb" && !terminal.starts_with("vt1");
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  while (!text.empty()) {
    const Character next = first_character(text);
    columns += columns_of(next.code);
    text.remove_prefix(next.length);
  }
  return columns;
}

std::string clipped(std::string_view text, std::size_t columns) {
  std::size_t length = 0;
  std::size_t taken = 0;
  while (length < text.size()) {
    const Character next = first_character(text.substr(length));
    taken += columns_of(next.code);
    if (taken > columns) break;
    length += next.length;
  }
  return std::string(text.substr(0, length));
}

std::string clipped_left(std::string_view text, std::size_t columns) {
  std::size_t now = columns_of(text);
  if (now <= columns) return std::string(text);
  if (columns <= 2) return std::string(columns, '.');
  while (now > columns - 2) {
    const Character next = first_character(text);
    now -= columns_of(next.code);
    text.remove_prefix(next.length);
  }
  return concat("..", text);
}

}  // namespace penstock::cli
