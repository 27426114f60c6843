// SPDX-License-Identifier: Apache-2.0
#include "cli/io_text.hpp"

#include <gtest/gtest.h>

namespace penstock::cli {
namespace {

using Words = std::vector<std::string>;

IoArguments parsed(std::string_view line, std::string_view known) {
  auto arguments = parse_io_arguments(split_words(line), known);
  if (!arguments) ADD_FAILURE() << arguments.error().message();
  return arguments.value_or(IoArguments{});
}

TEST(SplitWords, KnowsSpacesOnly) {
  EXPECT_EQ(split_words("  read  0 1k "), (Words{"read", "0", "1k"}));
  EXPECT_EQ(split_words("a \"b c\""), (Words{"a", "\"b", "c\""}));
  EXPECT_TRUE(split_words("").empty());
  EXPECT_TRUE(split_words("   ").empty());
}

TEST(IoArguments, FlagsMayBeJoinedAndFollowOperands) {
  const auto arguments = parsed("write 0 -zu 64k -P3", "zuP:");
  EXPECT_TRUE(arguments.has('z'));
  EXPECT_TRUE(arguments.has('u'));
  EXPECT_EQ(arguments.flags.at('P'), "3");
  EXPECT_EQ(arguments.operands, (Words{"0", "64k"}));
}

TEST(IoArguments, TwoHyphensEndTheFlags) {
  EXPECT_EQ(parsed("write -q -- -1 2", "q").operands, (Words{"-1", "2"}));
}

TEST(IoArguments, RefuseUnknownFlagsAndMissingValues) {
  const auto unknown = parse_io_arguments({"read", "-x", "0"}, "q");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().message(), "read: invalid option -- 'x'");
  const auto missing = parse_io_arguments({"read", "-P"}, "P:");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message(), "read: option requires an argument -- 'P'");
}

TEST(Pattern, IsAByteInAnyBase) {
  EXPECT_EQ(parse_pattern("0xab").value(), std::byte{0xab});
  EXPECT_EQ(parse_pattern("255").value(), std::byte{255});
  EXPECT_EQ(parse_pattern("010").value(), std::byte{8});
  for (const char* text : {"", "256", "-1", "zz", "1x"}) EXPECT_FALSE(parse_pattern(text)) << text;
}

TEST(IoNumber, FailsInQemuIosWords) {
  EXPECT_EQ(parse_io_number("y").error().message(),
            "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- y");
  EXPECT_EQ(parse_io_number("8E").error().message(), "Parsing error: argument too large -- 8E");
}

TEST(IoReportText, HasQemuIosTwoLines) {
  const IoReport report{
      .verb = "wrote", .offset = 512, .done = 65536, .asked = 65536, .time = std::chrono::milliseconds(500)};
  EXPECT_EQ(report_text(report, false),
            "wrote 65536/65536 bytes at offset 512\n64 KiB, 1 ops; 00.50 sec (128 KiB/sec and 2.0000 ops/sec)\n");
  EXPECT_EQ(report_text(report, true), "65536,1,0:00:00.50,131072.000,2.000\n");
}

TEST(IoReportText, ShowsMinutesAndHours) {
  const IoReport report{
      .verb = "read", .offset = 0, .done = 0, .asked = 0, .time = std::chrono::seconds(3 * 3600 + 4 * 60 + 5)};
  EXPECT_NE(report_text(report, false).find("3:04:05.00"), std::string::npos);
}

}  // namespace
}  // namespace penstock::cli
