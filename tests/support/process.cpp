// SPDX-License-Identifier: Apache-2.0
#include "tests/support/process.hpp"

#include <sys/wait.h>

#include <array>
#include <cstdio>

namespace penstock::test {

ProcessResult run(const std::string& command) {
  ProcessResult result;
  FILE* pipe = popen(("{ " + command + "\n} 2>&1").c_str(), "re");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer{};
  std::size_t length = 0;
  while ((length = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0) result.output.append(buffer.data(), length);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  return result;
}

bool have_program(std::string_view program) {
  return run("command -v " + std::string(program) + " >/dev/null").status == 0;
}

}  // namespace penstock::test
