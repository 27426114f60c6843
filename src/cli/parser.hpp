// SPDX-License-Identifier: Apache-2.0
/// The command line, taken apart by CLI11.
#pragma once

#include "cli/command.hpp"

#include <optional>
#include <string>
#include <vector>

namespace penstock::cli {

// What the program itself takes, and each command: -h, --help.
inline constexpr const char* kHelpFlag = "-h,--help";
inline constexpr const char* kHelpText = "Print this help and exit";
inline constexpr const char* kVersionFlag = "--version";
inline constexpr const char* kVersionText = "Display program version information and exit";

/// What is to be done. Of the three one is there.
struct ParsedLine {
  std::optional<int> status = {};     ///< nothing more: help was printed, or an error
  const Command* command = nullptr;   ///< its options are stored
  std::string completion_shell = {};  ///< --print-completion, which the build calls
};

/// `words`: without the program's name.
[[nodiscard]] ParsedLine parse(const std::vector<Command>& commands, std::vector<std::string> words);

}  // namespace penstock::cli
