// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Text, ConcatJoinsStringsCharactersAndNumbers) {
  EXPECT_EQ(concat("entry ", 17, ':', std::string(" at "), std::uint64_t{1} << 63U),
            "entry 17: at 9223372036854775808");
}

TEST(Text, HexHasNoLeadingZeroes) {
  EXPECT_EQ(hex(0), "0x0");
  EXPECT_EQ(hex(0x50200), "0x50200");
  EXPECT_EQ(hex(~0ULL), "0xffffffffffffffff");
}

TEST(Text, PrintableKeepsNamesFromDrivingATerminal) {
  EXPECT_EQ(printable("base.img"), "base.img");
  EXPECT_EQ(printable("a\nb\x1b[2J\x7f"), "a\\x0ab\\x1b[2J\\x7f");
  EXPECT_EQ(printable("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
}

}  // namespace
}  // namespace penstock
