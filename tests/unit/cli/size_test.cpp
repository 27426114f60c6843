// SPDX-License-Identifier: Apache-2.0
#include "cli/size.hpp"

#include <gtest/gtest.h>

#include <cerrno>

namespace penstock::cli {
namespace {

void expect_size(std::string_view text, std::uint64_t bytes) {
  const auto size = parse_size(text);
  ASSERT_TRUE(size) << text << ": " << size.error().message();
  EXPECT_EQ(*size, bytes) << text;
}

void expect_error(std::string_view text, int number) {
  const auto size = parse_size(text);
  ASSERT_FALSE(size) << text << " gives " << *size;
  EXPECT_EQ(size.error().number(), number) << text;
}

TEST(ParseSize, TakesSuffixesOfEitherCase) {
  expect_size("0", 0);
  expect_size("512", 512);
  expect_size("512b", 512);
  expect_size("64k", 65536);
  expect_size("64K", 65536);
  expect_size("3M", 3U << 20U);
  expect_size("1g", 1U << 30U);
  expect_size("2T", 2ULL << 40U);
  expect_size("2p", 2ULL << 50U);
  expect_size("7E", 7ULL << 60U);
  expect_size("0x10000", 65536);
}

TEST(ParseSize, TakesFractionsOnlyWithASuffix) {
  expect_size("1.5G", 1610612736);
  expect_size("1.5k", 1536);
  expect_size("0.5K", 512);
  expect_error("1.5", EINVAL);
  expect_error("1.5b", EINVAL);
}

TEST(ParseSize, RefusesWhatIsNoSize) {
  for (const char* text : {"", "k", "x", "12x", "1KiB", "1e3", "-1", "1k ", "0x", "0xg", "0x10k", "1..5k", "1 k"}) {
    expect_error(text, EINVAL);
  }
}

TEST(ParseSize, RefusesWhatIsTooLarge) {
  expect_size("9223372036854775807", INT64_MAX);
  expect_error("9223372036854775808", ERANGE);
  expect_error("8E", ERANGE);
  expect_error("99E", ERANGE);
  expect_error("99999999999999999999999", ERANGE);
  expect_error("0x8000000000000000", ERANGE);
  expect_error("7.9999999999999999999999E1", EINVAL);
}

}  // namespace
}  // namespace penstock::cli
