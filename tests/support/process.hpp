// SPDX-License-Identifier: Apache-2.0
/// Running QEMU's tools, the reference, from a test.
#pragma once

#include <string>
#include <string_view>

namespace penstock::test {

struct ProcessResult {
  int status = -1;     ///< exit status; 127: there is no such program
  std::string output;  ///< standard output and standard error
};

/// Runs `command` by the shell to its end.
[[nodiscard]] ProcessResult run(const std::string& command);

/// Whether `program` can be found.
[[nodiscard]] bool have_program(std::string_view program);

}  // namespace penstock::test
