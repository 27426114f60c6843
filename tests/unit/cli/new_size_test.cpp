// SPDX-License-Identifier: Apache-2.0
#include "cli/new_size.hpp"

#include <gtest/gtest.h>

namespace penstock::cli {
namespace {

Result<std::uint64_t> changed(std::string_view text, std::uint64_t old_size) {
  const auto change = parse_size_change(text);
  if (!change) return Failure(change.error());
  return change->apply(old_size);
}

TEST(SizeChange, IsAbsoluteWithoutASign) {
  EXPECT_EQ(changed("1M", 5).value(), 1U << 20U);
}

TEST(SizeChange, GrowsAndShrinksByASignedSize) {
  EXPECT_EQ(changed("+1k", 1024).value(), 2048U);
  EXPECT_EQ(changed("-1k", 4096).value(), 3072U);
  EXPECT_EQ(changed("+0", 4096).value(), 4096U);
}

TEST(SizeChange, NeverLeavesNothing) {
  EXPECT_FALSE(changed("-4k", 4096));
  EXPECT_FALSE(changed("-9T", 4096));
  EXPECT_FALSE(changed("0", 4096));
}

TEST(SizeChange, NeverOverflows) {
  EXPECT_FALSE(changed("+7E", 2ULL << 60U));
  EXPECT_FALSE(changed("+9223372036854775807", 1));
}

TEST(SizeChange, RefusesTwoSigns) {
  EXPECT_FALSE(changed("+-3", 4096));
  EXPECT_FALSE(changed("--3", 4096));
  EXPECT_FALSE(changed("+", 4096));
}

}  // namespace
}  // namespace penstock::cli
