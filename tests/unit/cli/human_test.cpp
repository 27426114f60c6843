// SPDX-License-Identifier: Apache-2.0
#include "cli/human.hpp"

#include <gtest/gtest.h>

#include <array>

namespace penstock::cli {
namespace {

// The expected words are what qemu-img 7.2 prints for these sizes.
TEST(HumanSize, HasThreeSignificantDigits) {
  EXPECT_EQ(human_size(0), "0 B");
  EXPECT_EQ(human_size(1), "1 B");
  EXPECT_EQ(human_size(512), "512 B");
  EXPECT_EQ(human_size(200704), "196 KiB");
  EXPECT_EQ(human_size(1000448), "977 KiB");
  EXPECT_EQ(human_size(2297856), "2.19 MiB");
  EXPECT_EQ(human_size(1610612736), "1.5 GiB");
  EXPECT_EQ(human_size(UINT64_MAX), "16 EiB");
}

TEST(HumanSize, StepsToTheNextUnitAtAThousand) {
  EXPECT_EQ(human_size(999), "999 B");
  EXPECT_EQ(human_size(1000), "0.977 KiB");
  EXPECT_EQ(human_size(1023), "0.999 KiB");
  EXPECT_EQ(human_size(1024), "1 KiB");
}

// The expected words are what qemu-io 7.2 prints.
TEST(IoSize, HasThreeDecimalsUnlessTheyAreZero) {
  EXPECT_EQ(io_size(0), "0 bytes");
  EXPECT_EQ(io_size(512), "512 bytes");
  EXPECT_EQ(io_size(1023), "1023 bytes");
  EXPECT_EQ(io_size(65536), "64 KiB");
  EXPECT_EQ(io_size(1000448), "977 KiB");
  EXPECT_EQ(io_size(0x1f0000), "1.938 MiB");
  EXPECT_EQ(io_size(1073741824), "1 GiB");
  EXPECT_EQ(io_size(564.875 * 1024), "564.875 KiB");
}

TEST(AlternateHex, LeavesZeroWithoutPrefix) {
  EXPECT_EQ(alternate_hex(0), "0");
  EXPECT_EQ(alternate_hex(0x50000), "0x50000");
  EXPECT_EQ(alternate_hex(UINT64_MAX), "0xffffffffffffffff");
}

TEST(DumpLine, ShowsLettersAndDigitsAndDotsForTheRest) {
  constexpr std::array<std::byte, 6> kBytes{std::byte{'a'}, std::byte{'Z'},  std::byte{'9'},
                                            std::byte{' '}, std::byte{0xc3}, std::byte{0}};
  EXPECT_EQ(dump_line(510, kBytes), "000001fe:  61 5a 39 20 c3 00  aZ9...\n");
}

}  // namespace
}  // namespace penstock::cli
