// SPDX-License-Identifier: Apache-2.0
/// The main of all test programs. Many test files share a program, since each one links the engine anew; `--file=PATH`
/// runs the tests of one of them, told by the end of its path: that is one test of meson's. Without it: all of them.
#include <gtest/gtest.h>

#include <iostream>
#include <string>
#include <string_view>

namespace {

/// The tests of `path` as a filter; empty: there are none.
std::string tests_of(std::string_view path) {
  const auto& program = *testing::UnitTest::GetInstance();
  std::string filter;
  for (int i = 0; i < program.total_test_suite_count(); ++i) {
    const auto& suite = *program.GetTestSuite(i);
    for (int j = 0; j < suite.total_test_count(); ++j) {
      const auto& test = *suite.GetTestInfo(j);
      if (!std::string_view(test.file()).ends_with(path)) continue;
      filter += std::string(filter.empty() ? "" : ":") + suite.name() + "." + test.name();
    }
  }
  return filter;
}

}  // namespace

int main(int count, char** arguments) {
  testing::InitGoogleTest(&count, arguments);
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    const std::string_view flag = "--file=";
    // A word that is not understood must not run other tests than what was meant.
    const auto filter = argument.starts_with(flag) ? tests_of(argument.substr(flag.size())) : "";
    if (filter.empty()) {
      std::cerr << argument << ": no such tests in this program\n";
      return 2;
    }
    testing::GTEST_FLAG(filter) = filter;
  }
  return RUN_ALL_TESTS();
}
