// SPDX-License-Identifier: Apache-2.0
// A power cut at any moment leaves an image that is consistent, leaks at most, and holds all that was flushed.
// PENSTOCK_CRASH_IMAGES: how many crash images all programs of this folder examine, about (default 10,000).
#include "tests/crash/crash_count.hpp"
#include "tests/crash/recorded_run.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/process.hpp"

namespace penstock::test {
namespace {

constexpr unsigned kPercent = 70;             // of all crash images
constexpr unsigned kOperations = 220;         // a run
constexpr std::size_t kImagesOfOneRun = 300;  // more of them are of more runs
constexpr std::size_t kUsedOn = 5;            // every fifth image
constexpr std::size_t kAskedOfQemu = 40;      // every fortieth

class CrashTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (GetParam().contents != Contents::empty && !have_program("qemu-img")) GTEST_SKIP() << "needs qemu-utils";
  }
};

TEST_P(CrashTest, LeavesAConsistentImageWithAllThatWasFlushed) {
  Random random("CrashTest");
  std::size_t number = 0;
  for (auto left = crash_images_of(cases().size(), kPercent); left != 0 && !HasFailure();) {
    const auto count = std::min(left, kImagesOfOneRun);
    left -= count;
    const RecordedRun run(GetParam(), Start::make(GetParam()), random,
                          {.operations = kOperations, .wrap = {}, .heal = {}});
    ASSERT_EQ(run.errors(), 0U);
    const auto report = run.left().check();
    ASSERT_OK(report);
    EXPECT_EQ(report->corruptions, 0U);
    EXPECT_EQ(report->leaks, 0U) << "closed cleanly";
    run.journal().crash(random, count, [&](const CrashImage& crash) {
      count_crash_image();
      ++number;
      const auto problem = run.examine(crash, {.use_on = number % kUsedOn == 0, .by_qemu = number % kAskedOfQemu == 0});
      EXPECT_EQ(problem, "") << crash.what;
      return problem.empty();
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Every, CrashTest, testing::ValuesIn(cases()),
                         [](const auto& param) { return param.param.shape.name; });

}  // namespace
}  // namespace penstock::test
