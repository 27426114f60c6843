// SPDX-License-Identifier: Apache-2.0
#include "cli/styled_line.hpp"

#include "cli/terminal.hpp"

namespace penstock::cli {

namespace {

/// The sixteen colours that every terminal's user has chosen for himself. Source: ECMA-48, SGR.
std::string_view sequence(Style style) {
  switch (style) {
    case Style::plain:
      break;
    case Style::strong:
      return "\033[0;1m";
    case Style::faint:
    case Style::missing:
      return "\033[0;90m";
    case Style::warning:
      return "\033[0;91m";
    case Style::provisioned:
      return "\033[0;32m";
    case Style::zero:
      return "\033[0;34m";
    case Style::copying:
      return "\033[0;1;93m";
    case Style::written:
      return "\033[0;35m";
  }
  return "\033[0m";
}

std::string ascii_only(std::string_view text) {
  std::string out;
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x80) {
      out += character;
    } else if (byte >= 0xc0) {  // the bytes that follow it are part of it
      out += '?';
    }
  }
  return out;
}

}  // namespace

StyledLine& StyledLine::add(std::string_view text, Style style) {
  const std::string fitting = clipped(look_.unicode ? std::string(text) : ascii_only(text), room_);
  if (fitting.empty()) return *this;
  if (look_.colour && style != style_) text_ += sequence(style);
  style_ = style;
  text_ += fitting;
  room_ -= columns_of(fitting);
  return *this;
}

StyledLine& StyledLine::leave(std::size_t columns) {
  return room_ > columns ? add(std::string(room_ - columns, ' ')) : *this;
}

std::string StyledLine::text() const {
  return look_.colour && style_ != Style::plain ? text_ + std::string(sequence(Style::plain)) : text_;
}

}  // namespace penstock::cli
