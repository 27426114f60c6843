// SPDX-License-Identifier: Apache-2.0
#include "cli/duration.hpp"

#include <gtest/gtest.h>

namespace penstock::cli {
namespace {

using std::chrono::milliseconds;

TEST(ParseDuration, TakesSecondsAndUnits) {
  EXPECT_EQ(parse_duration("30"), milliseconds(30'000));
  EXPECT_EQ(parse_duration("0"), milliseconds(0));
  EXPECT_EQ(parse_duration("1.5"), milliseconds(1'500));
  EXPECT_EQ(parse_duration("250ms"), milliseconds(250));
  EXPECT_EQ(parse_duration("30s"), milliseconds(30'000));
  EXPECT_EQ(parse_duration("5m"), milliseconds(300'000));
  EXPECT_EQ(parse_duration("2h"), milliseconds(7'200'000));
  EXPECT_EQ(parse_duration("1d"), milliseconds(86'400'000));
}

TEST(ParseDuration, RefusesTheRestAndRepeatsIt) {
  for (const char* text : {"", "s", "5 m", "5x", "-1", "+1", "inf", "nan", "0x10", "1e3", "5mm", " 5"}) {
    const auto parsed = parse_duration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_TRUE(parsed.error().is(EINVAL)) << text;
    EXPECT_NE(parsed.error().message().find(text), std::string::npos);
  }
  EXPECT_TRUE(parse_duration("99999d").error().is(ERANGE));
  EXPECT_TRUE(parse_duration(std::string(400, '9')).error().is(ERANGE));
}

TEST(HumanDuration, HasTwoUnitsAtMost) {
  EXPECT_EQ(human_duration(0), "0s");
  EXPECT_EQ(human_duration(-5), "0s");
  EXPECT_EQ(human_duration(59.4), "59s");
  EXPECT_EQ(human_duration(59.6), "1m 00s");
  EXPECT_EQ(human_duration(303), "5m 03s");
  EXPECT_EQ(human_duration(3599), "59m 59s");
  EXPECT_EQ(human_duration(7620), "2h 07m");
  EXPECT_EQ(human_duration(86399), "1d 0h");
  EXPECT_EQ(human_duration(273600), "3d 4h");
}

TEST(HumanLatency, HasThreeDigits) {
  EXPECT_EQ(human_latency(0), "0 ns");
  EXPECT_EQ(human_latency(850), "850 ns");
  EXPECT_EQ(human_latency(92'000), "92 us");
  EXPECT_EQ(human_latency(999'700), "1 ms");
  EXPECT_EQ(human_latency(1'240'000), "1.24 ms");
  EXPECT_EQ(human_latency(2'500'000'000), "2.5 s");
  EXPECT_EQ(human_latency(3'600'000'000'000), "3600 s");
}

}  // namespace
}  // namespace penstock::cli
