// SPDX-License-Identifier: Apache-2.0
// Each call of the storage fails in turn: no success is reported that was none, nothing is corrupted, and once the disk
// is well again requests are served. PENSTOCK_FAULT_RUNS: how many runs of each kind (default 1), of which every call
// fails once.
#include "tests/crash/crash_count.hpp"
#include "tests/crash/recorded_run.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/faulty_storage.hpp"
#include "tests/support/process.hpp"

#include "base/text.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace penstock::test {
namespace {

constexpr unsigned kOperations = 18;
constexpr std::size_t kCrashImages = 1;  // a failure

struct Fault {
  friend void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.name; }
  const char* name;
  unsigned kinds;
  int number;
  bool for_ever;
  FaultyStorage::Effect effect = FaultyStorage::Effect::none;
};

std::atomic<std::size_t>& failures_examined() {
  static std::atomic<std::size_t> count{0};
  return count;
}

class PrintsTheCount final : public testing::Environment {
 public:
  void TearDown() override { std::printf("%zu failures examined\n", failures_examined().load()); }
};

const auto* const kPrinter = testing::AddGlobalTestEnvironment(new PrintsTheCount);

std::uint64_t runs() {
  const char* const given = std::getenv("PENSTOCK_FAULT_RUNS");
  return given == nullptr ? 1 : std::strtoull(given, nullptr, 0);
}

class FaultTest : public testing::TestWithParam<std::tuple<Case, Fault>> {
 protected:
  FaultTest() : case_(std::get<0>(GetParam())), fault_(std::get<1>(GetParam())) {
    case_.threads = 1;
    case_.may_fail = true;
  }
  void SetUp() override {
    if (case_.contents != Contents::empty && !have_program("qemu-img")) GTEST_SKIP() << "needs qemu-utils";
    start_ = Start::make(case_);
  }

  /// Runs the load with call number `after` failing; of an image with a data file, every other one is the data file's.
  /// False when there was no such call.
  bool fail_call(std::uint64_t seed, std::uint64_t after) {
    std::vector<std::shared_ptr<FaultyStorage>> disks;
    const bool two = start_.image.data != nullptr;
    const auto victim = two ? after % 2 : 0;
    const auto wrap = [&](std::shared_ptr<Storage> storage) {
      disks.push_back(std::make_shared<FaultyStorage>(std::move(storage)));
      if (disks.size() == victim + 1) {
        disks.back()->arm({.kinds = fault_.kinds,
                           .after = two ? after / 2 : after,
                           .number = fault_.number,
                           .for_ever = fault_.for_ever,
                           .effect = fault_.effect});
      }
      return disks.back();
    };
    const auto heal = [&] {
      disks[victim]->disarm();
      return !disks[victim]->flush_failed();
    };
    Random random(seed);
    const RecordedRun run(case_, start_, random, {.operations = kOperations, .wrap = wrap, .heal = heal});
    if (disks[victim]->failures() == 0) return false;
    ++failures_examined();
    EXPECT_EQ(run.late_errors(), 0U) << "the disk is well again";
    EXPECT_FALSE(disks[victim]->flush_failed() && run.errors() == 0) << "nobody was told that a flush failed";
    EXPECT_EQ(run.examine_left(), "");
    run.journal().crash(random, kCrashImages, [&](const CrashImage& crash) {
      count_crash_image();
      EXPECT_EQ(run.examine(crash, {}), "") << crash.what;
      return !HasFailure();
    });
    return true;
  }

  Case case_;
  const Fault fault_;
  Start start_;
};

TEST_P(FaultTest, EachFailingCallIsReportedAndCorruptsNothing) {
  Random random("FaultTest");
  for (auto left = runs(); left != 0; --left) {
    const auto seed = random.next();
    unsigned without_effect = 0;  // one of two files may have no more calls, the other still some
    for (std::uint64_t call = 0; without_effect < 2; ++call) {
      SCOPED_TRACE(concat("call ", call, " fails"));
      without_effect = fail_call(seed, call) ? 0 : without_effect + 1;
      if (HasFailure()) return;
    }
  }
}

std::vector<Case> one_thread_cases() {
  std::vector<Case> chosen;
  for (const Case& item : cases()) {
    if (item.threads != 1) continue;
    chosen.push_back(item);
    if (item.contents == Contents::empty) chosen.back().size = 512U << 10U;
  }
  return chosen;
}

constexpr unsigned kNeedRoom =
    FaultyStorage::writes | FaultyStorage::zeroes | FaultyStorage::allocates | FaultyStorage::truncates;

INSTANTIATE_TEST_SUITE_P(
    Every, FaultTest,
    testing::Combine(testing::ValuesIn(one_thread_cases()),
                     testing::Values(Fault{"one_error", FaultyStorage::everything, EIO, false},
                                     Fault{"one_error_of_what_happened", FaultyStorage::writes, EIO, false,
                                           FaultyStorage::Effect::whole},
                                     Fault{"one_error_half_way", FaultyStorage::writes, EIO, false,
                                           FaultyStorage::Effect::half},
                                     Fault{"disk_full", kNeedRoom, ENOSPC, true},
                                     Fault{"no_change_any_more", FaultyStorage::changes, EIO, true})),
    [](const auto& param) { return std::get<0>(param.param).shape.name + "_" + std::get<1>(param.param).name; });

}  // namespace
}  // namespace penstock::test
