// SPDX-License-Identifier: Apache-2.0
/// What all subcommands share: exit statuses and the one way to print an error.
#pragma once

#include <penstock/error.hpp>

#include <string_view>

namespace penstock::cli {

inline constexpr int kSuccess = 0;
inline constexpr int kFailure = 1;
inline constexpr int kUsage = 2;  ///< the command line itself is wrong

/// "penstock: MESSAGE" on standard error. Bytes that would break the line or drive a terminal are escaped.
void print_error(std::string_view message);

/// Prints the error and gives kFailure: `if (!image) return report(image.error());`.
[[nodiscard]] int report(const Error& error);

/// Prints "penstock: MESSAGE (see 'penstock COMMAND --help')" and gives kUsage, for what CLI11 cannot check by itself.
[[nodiscard]] int usage_error(std::string_view command, std::string_view message);

/// Flushes standard output and gives `status`, or reports that the output could not be written (a full disk, a closed
/// pipe) and gives kFailure.
[[nodiscard]] int finish_output(int status);

}  // namespace penstock::cli
