// SPDX-License-Identifier: Apache-2.0
// Of runs so short that it can be done, every crash there is: each subset of the writes that were not flushed, and each
// torn one.
#include "tests/crash/crash_count.hpp"
#include "tests/crash/recorded_run.hpp"
#include "tests/support/expect.hpp"

namespace penstock::test {
namespace {

constexpr unsigned kOperations = 12;
constexpr std::size_t kPendingMax = 8;  // of which every subset is taken

std::vector<Case> small_cases() {
  std::vector<Case> chosen;
  for (Case item : cases()) {
    if (item.threads != 1 || item.contents != Contents::empty) continue;
    const bool large_clusters = !item.shape.options.contains("cluster_size");
    item.size = large_clusters ? 256U << 10U : 48U << 10U;
    chosen.push_back(std::move(item));
  }
  return chosen;
}

class EveryCrash : public testing::TestWithParam<Case> {};

TEST_P(EveryCrash, OfAShortRunLeavesAConsistentImage) {
  Random random("EveryCrash");
  const RecordedRun run(GetParam(), Start::make(GetParam()), random,
                        {.operations = kOperations, .wrap = {}, .heal = {}});
  ASSERT_EQ(run.errors(), 0U);
  run.journal().crash_everywhere(random, kPendingMax, [&](const CrashImage& crash) {
    count_crash_image();
    const auto problem = run.examine(crash, {});
    EXPECT_EQ(problem, "") << crash.what;
    return problem.empty();
  });
}

INSTANTIATE_TEST_SUITE_P(Small, EveryCrash, testing::ValuesIn(small_cases()),
                         [](const auto& param) { return param.param.shape.name; });

}  // namespace
}  // namespace penstock::test
