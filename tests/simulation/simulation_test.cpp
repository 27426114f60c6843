// SPDX-License-Identifier: Apache-2.0
// Random lives of images, each decided by one number. PENSTOCK_SEED: the first (default: fresh), which is printed.
// PENSTOCK_SECONDS: for how long (default 15). A seed that fails is printed with what it needs to be run alone:
// PENSTOCK_SEED=<seed> PENSTOCK_SECONDS=0.
#include "tests/simulation/simulation.hpp"

#include "tests/support/random.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace penstock::test {
namespace {

std::chrono::seconds duration() {
  const char* const given = std::getenv("PENSTOCK_SECONDS");
  return std::chrono::seconds(given == nullptr ? 15 : std::strtoll(given, nullptr, 0));
}

bool same(const std::vector<Change>& one, const std::vector<Change>& other) {
  return std::ranges::equal(one, other, [](const Change& a, const Change& b) {
    return a.device == b.device && a.kind == b.kind && a.range == b.range && a.data == b.data;
  });
}

TEST(Simulation, ASeedHappensAgainExactly) {
  Random random("Simulation.Again");
  std::size_t changes = 0;
  for (int number = 0; number < 25; ++number) {
    const auto seed = random.next();
    const auto once = simulate(seed);
    const auto again = simulate(seed);
    ASSERT_TRUE(same(once.log, again.log)) << "seed " << seed << ": " << once.what;
    EXPECT_EQ(once.failures, again.failures);
    EXPECT_EQ(once.problem, again.problem);
    changes += once.log.size();
  }
  EXPECT_GT(changes, 1000U);
}

TEST(Simulation, NoLifeOfAnImageLosesOrCorruptsAnything) {
  Random random("Simulation");
  auto seed = random.seed();
  std::uint64_t seeds = 0;
  std::uint64_t lives = 0;
  std::uint64_t crash_images = 0;
  std::uint64_t failures = 0;
  const auto began = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::steady_clock::now() - began; };
  do {
    const auto outcome = simulate(seed);
    ++seeds;
    lives += outcome.lives;
    crash_images += outcome.crash_images;
    failures += outcome.failures;
    ASSERT_EQ(outcome.problem, "") << "PENSTOCK_SEED=" << seed << " PENSTOCK_SECONDS=0: " << outcome.what;
    ++seed;
  } while (elapsed() < duration());
  const double seconds = std::chrono::duration<double>(elapsed()).count();
  std::printf("%lu seeds (%.0f a minute), %lu lives, %lu crash images, %lu failures\n", seeds,
              static_cast<double>(seeds) * 60 / seconds, lives, crash_images, failures);
}

}  // namespace
}  // namespace penstock::test
