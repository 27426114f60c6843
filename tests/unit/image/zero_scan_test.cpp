// SPDX-License-Identifier: Apache-2.0
#include "image/zero_scan.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace penstock {
namespace {

TEST(ZeroScan, NothingIsAllZero) {
  EXPECT_TRUE(is_all_zero({}));
}

TEST(ZeroScan, EveryByteCountsAtEveryAlignment) {
  std::vector<std::byte> bytes(300);
  for (std::size_t skip = 0; skip < 9; ++skip) {
    const auto part = std::span(bytes).subspan(skip, 200 + skip);
    EXPECT_TRUE(is_all_zero(part));
    for (auto& byte : part) {
      byte = std::byte{1};
      EXPECT_FALSE(is_all_zero(part));
      byte = std::byte{0};
    }
  }
}

TEST(ZeroScan, BytesAroundDoNotCount) {
  std::vector<std::byte> bytes(130, std::byte{0xff});
  std::fill(bytes.begin() + 1, bytes.end() - 1, std::byte{0});
  EXPECT_TRUE(is_all_zero(std::span(bytes).subspan(1, 128)));
  EXPECT_FALSE(is_all_zero(bytes));
}

}  // namespace
}  // namespace penstock
