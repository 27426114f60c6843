// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

namespace penstock {
namespace {

TEST(Log, DamageCannotFloodTheLog) {
  testing::internal::CaptureStderr();
  for (int line = 0; line < 10000; ++line) log_limited(LogLevel::warning, "L2 entry is damaged");
  const std::string printed = testing::internal::GetCapturedStderr();
  const auto lines = std::ranges::count(printed, '\n');
  EXPECT_GE(lines, 1);
  EXPECT_LE(lines, 50);
  EXPECT_TRUE(printed.starts_with("penstock: L2 entry is damaged\n"));
}

TEST(Log, LevelKeepsBackWhatIsLessGrave) {
  testing::internal::CaptureStderr();
  set_log_level(LogLevel::warning);
  log_line(LogLevel::info, "a");
  log_line(LogLevel::warning, "b");
  set_log_level(LogLevel::error);
  log_line(LogLevel::warning, "c");
  log_line(LogLevel::error, "d");
  set_log_level(LogLevel::info);
  log_line(LogLevel::info, "e");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "penstock: b\npenstock: d\npenstock: e\n");
}

TEST(Log, LinesCarryTheirPriorityToTheJournalAndNowhereElse) {
  testing::internal::CaptureStderr();
  struct stat stream{};
  ASSERT_EQ(fstat(STDERR_FILENO, &stream), 0);
  const std::string here = std::to_string(stream.st_dev) + ':' + std::to_string(stream.st_ino);
  setenv("JOURNAL_STREAM", here.c_str(), 1);
  log_line(LogLevel::error, "a");
  log_line(LogLevel::warning, "b");
  log_line(LogLevel::info, "c");
  setenv("JOURNAL_STREAM", (here + "0").c_str(), 1);
  log_line(LogLevel::error, "redirected since");
  unsetenv("JOURNAL_STREAM");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "<3>penstock: a\n<4>penstock: b\n<6>penstock: c\npenstock: redirected since\n");
}

}  // namespace
}  // namespace penstock
