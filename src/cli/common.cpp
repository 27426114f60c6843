// SPDX-License-Identifier: Apache-2.0
#include "cli/common.hpp"

#include "base/log.hpp"
#include "base/text.hpp"

#include <cstdio>
#include <string>

namespace penstock::cli {

void print_error(std::string_view message) {
  // One write a line: lines of several processes do not mix.
  const std::string line = concat(journal_prefix(LogLevel::error), "penstock: ", printable(message), '\n');
  static_cast<void>(std::fwrite(line.data(), 1, line.size(), stderr));
}

int report(const Error& error) {
  print_error(error.message());
  return kFailure;
}

int usage_error(std::string_view command, std::string_view message) {
  const std::string name = command.empty() ? "penstock" : concat("penstock ", command);
  print_error(concat(command, command.empty() ? "" : ": ", message, " (see '", name, " --help')"));
  return kUsage;
}

int finish_output(int status) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  return report(system_failure("standard output").error());
}

}  // namespace penstock::cli
