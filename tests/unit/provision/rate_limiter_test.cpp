// SPDX-License-Identifier: Apache-2.0
#include "provision/rate_limiter.hpp"

#include "tests/support/manual_clock.hpp"

#include <gtest/gtest.h>

namespace penstock {
namespace {

using std::chrono::seconds;

TEST(RateLimiter, WithoutARateNothingWaits) {
  test::ManualClock clock;
  RateLimiter limiter(clock.now());
  limiter.charge(1ULL << 40U, clock.now());
  EXPECT_EQ(limiter.delay(clock.now()), std::chrono::nanoseconds(0));
}

TEST(RateLimiter, HoldsTheRateOverTenSecondsWhateverTheSteps) {
  for (const std::uint64_t step : {4096ULL, 65536ULL, 1ULL << 20U}) {
    test::ManualClock clock;
    RateLimiter limiter(clock.now());
    limiter.set_rate(10U << 20U, clock.now());
    const auto end = clock.now() + seconds(10);
    std::uint64_t bytes = 0;
    while (clock.now() < end) {
      clock.sleep_for(limiter.delay(clock.now()));
      limiter.charge(step, clock.now());
      bytes += step;
    }
    EXPECT_NEAR(static_cast<double>(bytes), 100.0 * (1U << 20U), 5.0 * (1U << 20U)) << step;
  }
}

TEST(RateLimiter, APauseSavesUpNoMoreThanATenthOfASecond) {
  test::ManualClock clock;
  RateLimiter limiter(clock.now());
  limiter.set_rate(1000, clock.now());
  clock.sleep_for(seconds(3600));
  limiter.charge(100, clock.now());
  EXPECT_EQ(limiter.delay(clock.now()).count(), 0);
  limiter.charge(500, clock.now());
  EXPECT_NEAR(std::chrono::duration<double>(limiter.delay(clock.now())).count(), 0.5, 0.01);
}

TEST(RateLimiter, ANewRateForgetsOldDebts) {
  test::ManualClock clock;
  RateLimiter limiter(clock.now());
  limiter.set_rate(1, clock.now());
  limiter.charge(1U << 30U, clock.now());
  limiter.set_rate(1U << 30U, clock.now());
  EXPECT_EQ(limiter.delay(clock.now()).count(), 0);
}

}  // namespace
}  // namespace penstock
