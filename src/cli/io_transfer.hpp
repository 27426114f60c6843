// SPDX-License-Identifier: Apache-2.0
/// The io commands that move or change guest bytes.
#pragma once

#include "cli/io_commands.hpp"
#include "cli/io_text.hpp"

#include <span>

namespace penstock::cli {

using IoWords = std::span<const std::string>;

/// A command: its words checked for number, its flags not yet. False: failed, and said so.
using IoFunction = bool (*)(IoSession& session, const std::vector<std::string>& words);

/// One line of `help`.
struct IoCommand {
  std::string_view name;
  std::string_view short_name;  ///< may be empty
  int words_min = 0;            ///< flags included
  int words_max = 0;            ///< -1: any number
  std::string_view arguments;
  std::string_view summary;
  std::string_view details;  ///< shown by `help NAME`
  IoFunction run = nullptr;  ///< null: help and quit, which the dispatcher knows
};

extern const IoCommand kReadCommand;
extern const IoCommand kWriteCommand;
extern const IoCommand kDiscardCommand;

/// "NAME ARGUMENTS -- SUMMARY"
[[nodiscard]] std::string usage_line(const IoCommand& command);

/// Prints "WHAT failed: REASON" as qemu-io does and explains on standard error; gives false.
bool io_failed(std::string_view what, const Error& error);
/// Prints a line on standard output, where qemu-io prints what is wrong with the arguments; gives false.
bool refuse(std::string_view line);

}  // namespace penstock::cli
