// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include "cli/terminal.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace penstock::cli {
namespace {

TEST(TextBar, GrowsFromEmptyToFull) {
  EXPECT_EQ(text_bar(0, 12, false), "[>         ]");
  EXPECT_EQ(text_bar(0.5, 12, false), "[#####>    ]");
  EXPECT_EQ(text_bar(1, 12, false), "[##########]");
  EXPECT_EQ(text_bar(0, 4, true), "░░░░");
  EXPECT_EQ(text_bar(0.5, 4, true), "██░░");
  EXPECT_EQ(text_bar(0.53125, 4, true), "██▏░");
  EXPECT_EQ(text_bar(1, 4, true), "████");
}

TEST(TextBar, IsAlwaysAsWideAsAskedFor) {
  for (const bool unicode : {false, true}) {
    for (unsigned columns = 0; columns < 70; ++columns) {
      for (const double fraction : {-1.0, 0.0, 0.01, 0.333, 0.999, 1.0, 7.0, double(NAN), double(INFINITY)}) {
        EXPECT_EQ(columns_of(text_bar(fraction, columns, unicode)), columns) << fraction;
      }
    }
  }
}

TEST(Percentage, IsOneHundredOnlyWhenAllIsDone) {
  EXPECT_EQ(percentage(0, 100), "  0.0 %");
  EXPECT_EQ(percentage(UINT64_C(999'999'999), UINT64_C(1'000'000'000)), " 99.9 %");
  EXPECT_EQ(percentage(UINT64_MAX - 1, UINT64_MAX), " 99.9 %");
  EXPECT_EQ(percentage(7, 7), "100.0 %");
  EXPECT_EQ(percentage(0, 0), "100.0 %");
}

TEST(ProgressLine, HasBarRateAndTimeLeft) {
  ProgressState state{
      .title = "streaming", .done = UINT64_C(1) << 30U, .total = UINT64_C(4) << 30U, .rate = 100 << 20U};
  state.seconds_left = 31;
  EXPECT_EQ(progress_line(state, 70, false), "streaming  [#######>                    ]  25.0 %  100 MiB/s  31s left");
  state.note = "paused";
  EXPECT_EQ(progress_line(state, 60, false), "streaming  [#####>              ]  25.0 %  100 MiB/s  paused");
  EXPECT_EQ(progress_text(state), "streaming: 25.0 % (1 GiB of 4 GiB)  100 MiB/s  paused");
}

TEST(ProgressLine, FitsAnyTerminal) {
  const ProgressState state{.title = "一個很長的標題 and more of it",
                            .done = 123'456'789,
                            .total = 987'654'321,
                            .rate = 123'456,
                            .seconds_left = 123'456};
  for (const bool unicode : {false, true}) {
    for (unsigned columns = 0; columns < 150; ++columns) {
      EXPECT_LE(columns_of(progress_line(state, columns, unicode)), columns);
    }
  }
}

TEST(ProgressBar, WritesLinesWhereThereIsNoTerminal) {
  testing::internal::CaptureStderr();
  {
    ProgressBar bar("copying", ShowProgress::always);
    for (std::uint64_t done = 0; done <= 1000; ++done) bar.update(done, 1000, 0, -1);
    bar.finish();
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 11) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_TRUE(text.starts_with("copying: 0.0 % (0 B of 0.977 KiB)\n")) << text;
  EXPECT_TRUE(text.ends_with("copying: 100.0 % (0.977 KiB of 0.977 KiB)\n")) << text;
}

TEST(ProgressBar, IsSilentWhenQuiet) {
  testing::internal::CaptureStderr();
  ProgressBar bar("copying", ShowProgress::never);
  bar.update(1, 2);
  bar.finish();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace penstock::cli
