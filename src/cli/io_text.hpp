// SPDX-License-Identifier: Apache-2.0
/// The words of an io command line, as qemu-io reads them.
#pragma once

#include <penstock/error.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::cli {

/// Words between spaces; there is no quoting.
[[nodiscard]] std::vector<std::string> split_words(std::string_view line);

/// Flags and operands of one command.
struct IoArguments {
  std::map<char, std::string> flags;  ///< with their values, empty for a flag without one; the last one wins
  std::vector<std::string> operands;

  [[nodiscard]] bool has(char flag) const { return flags.contains(flag); }
};

/// Flags may stand behind operands, be joined ("-zu") and carry their value at once ("-P3"); "--" ends them.
/// `known` is getopt's list: a flag that takes a value is followed by a colon. Errors: EINVAL, in getopt's words.
[[nodiscard]] Result<IoArguments> parse_io_arguments(const std::vector<std::string>& words, std::string_view known);

/// An offset or length. Errors: EINVAL and ERANGE, in qemu-io's words.
[[nodiscard]] Result<std::uint64_t> parse_io_number(std::string_view text);

/// 0 to 255, decimal, octal or hexadecimal. Errors: EINVAL, in qemu-io's words.
[[nodiscard]] Result<std::byte> parse_pattern(std::string_view text);

/// What one command did and how long it took.
struct IoReport {
  std::string_view verb;  ///< "read", "wrote", "discard"
  std::uint64_t offset = 0;
  std::uint64_t done = 0;
  std::uint64_t asked = 0;
  std::chrono::nanoseconds time{};
};

/// "wrote 65536/65536 bytes at offset 0" and its statistics; `parsable` gives one line of numbers instead (-C).
[[nodiscard]] std::string report_text(const IoReport& report, bool parsable);

}  // namespace penstock::cli
