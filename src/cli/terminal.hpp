// SPDX-License-Identifier: Apache-2.0
/// What a terminal can show, and text measured in its columns.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace penstock::cli {

/// In character cells.
struct TerminalSize {
  unsigned columns = 80;
  unsigned rows = 24;
  friend bool operator==(const TerminalSize&, const TerminalSize&) = default;
};

/// Of the terminal at `descriptor`; 80x24 when it does not say.
[[nodiscard]] TerminalSize terminal_size(int descriptor);

/// Whether the locale's variables (LC_ALL, LC_CTYPE, LANG) say UTF-8.
[[nodiscard]] bool utf8_locale();
/// Whether text in colours is wanted: TERM knows them and NO_COLOR is not set (https://no-color.org).
[[nodiscard]] bool colours_wanted();

/// Columns that UTF-8 text without control characters takes: combining marks none, East Asian wide characters two.
[[nodiscard]] std::size_t columns_of(std::string_view text);
/// The longest beginning of `text` that takes no more than so many columns.
[[nodiscard]] std::string clipped(std::string_view text, std::size_t columns);
/// The same, but of a text that is too long the end is kept, after "..": of a path that is what tells.
[[nodiscard]] std::string clipped_left(std::string_view text, std::size_t columns);

}  // namespace penstock::cli
