// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <gtest/gtest.h>

#include <algorithm>
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

}  // namespace
}  // namespace penstock
