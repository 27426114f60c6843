// SPDX-License-Identifier: Apache-2.0
/// One line of a terminal, in colours where they are wanted, never wider than asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::cli {

/// What the terminal can show.
struct Look {
  bool colour = false;
  bool unicode = false;
};

enum class Style : std::uint8_t { plain, strong, faint, warning, missing, provisioned, zero, copying, written };

/// Text without control characters, piece by piece; what does not fit is left out.
class StyledLine {
 public:
  StyledLine(std::size_t columns, Look look) : room_(columns), look_(look) {}

  /// In a locale that is not UTF-8, what is no ASCII becomes "?".
  StyledLine& add(std::string_view text, Style style = Style::plain);
  /// Blanks until so many columns are left.
  StyledLine& leave(std::size_t columns);
  [[nodiscard]] std::size_t room() const noexcept { return room_; }
  /// With the colours put back to normal.
  [[nodiscard]] std::string text() const;

 private:
  std::string text_;
  std::size_t room_;
  Look look_;
  Style style_ = Style::plain;
};

}  // namespace penstock::cli
