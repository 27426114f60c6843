// SPDX-License-Identifier: Apache-2.0
// Each call of the storage fails in turn: no success is reported that was none, and nothing is corrupted.
#include "tests/crash/load.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/faulty_storage.hpp"
#include "tests/support/process.hpp"

#include "base/text.hpp"

namespace penstock::test {
namespace {

constexpr unsigned kOperations = 30;
constexpr std::size_t kFailuresMax = 120;  // a case; more calls than that are failed in steps

struct Fault {
  friend void PrintTo(const Fault& fault, std::ostream* out) { *out << fault.name; }
  const char* name;
  unsigned kinds;
  int number;
  bool for_ever;
};

class FaultTest : public testing::TestWithParam<std::tuple<Case, Fault>> {
 protected:
  FaultTest() {
    case_ = std::get<0>(GetParam());
    case_.threads = 1;
  }
  void SetUp() override {
    if (case_.contents != Contents::empty && !have_program("qemu-img")) GTEST_SKIP() << "needs qemu-utils";
    start_ = Start::make(case_);
  }

  /// Runs the load with the call number `after` failing; of an image with a data file, every other one is the data
  /// file's. False when there was no such call.
  bool fail_call(std::uint64_t seed, std::uint64_t after) {
    const Fault& fault = std::get<1>(GetParam());
    const auto memory = std::dynamic_pointer_cast<MemoryStorage>(start_.image.file)->copy("image");
    auto faulty = std::make_shared<FaultyStorage>(memory);
    std::shared_ptr<Storage> file = faulty;
    std::shared_ptr<Storage> data_memory;
    std::shared_ptr<Storage> data;
    if (start_.image.data != nullptr) {
      data = data_memory = std::dynamic_pointer_cast<MemoryStorage>(start_.image.data)->copy("data");
      if (after % 2 == 1) {  // in turn the one file and the other
        file = memory;
        data = faulty = std::make_shared<FaultyStorage>(data_memory);
      }
      after /= 2;
    }
    History history(case_.size_max() / kSectorSize, case_.size);
    bool flush_failed = false;
    bool closed = false;
    std::size_t moment = 0;
    {
      auto image = must(start_.open(start_.image.with(file, data), true));
      Load load(case_, *image, history, [&moment] { return ++moment; });
      load.take_start();
      Random random(seed);
      faulty->arm({.kinds = fault.kinds, .after = after, .number = fault.number, .for_ever = fault.for_ever});
      load.run(random, kOperations);
      if (!faulty->fired()) return false;
      faulty->disarm();
      // The disk is well again. Either all goes well from here, or the image says for ever that it does not.
      load.run(random, 10);
      flush_failed = !load.flush();
      if (flush_failed) {
        EXPECT_ERRNO(image->flush(), must_number(image->flush()));
      }
      closed = image->close().has_value();
      EXPECT_FALSE(flush_failed && closed) << "close hides that a flush failed";
    }
    const auto left = start_.image.with(memory, data_memory);
    if (!closed && case_.shape.options.count("lazy_refcounts") != 0) {
      const auto repaired = left.open(true);
      EXPECT_OK(repaired);
      if (repaired) {
        EXPECT_TRUE(succeeded((*repaired)->close()));
      }
    }
    const auto report = left.check();
    EXPECT_OK(report);
    if (report) {
      EXPECT_EQ(report->corruptions, 0U);
      EXPECT_EQ(report->check_errors, 0U);
    }
    const auto image = start_.open(left, false);
    EXPECT_OK(image);
    if (image) {
      EXPECT_EQ(find_problem(**image, history, SIZE_MAX - 1), "");
    }
    return true;
  }
  static int must_number(const Result<>& failed) { return failed ? 0 : failed.error().number(); }

  Case case_;
  Start start_;
};

TEST_P(FaultTest, EachFailingCallIsReportedAndCorruptsNothing) {
  Random random("FaultTest");
  const auto seed = random.next();
  // Near the start every call counts: opening, the first allocations. Later a step is enough.
  std::uint64_t after = 0;
  unsigned without_effect = 0;  // one of two files may have no more calls, the other still some
  for (std::size_t run = 0; run < kFailuresMax && without_effect < 4; ++run) {
    SCOPED_TRACE(concat("call ", after, " fails"));
    without_effect = fail_call(seed, after) ? 0 : without_effect + 1;
    if (HasFailure()) break;
    after += run < kFailuresMax / 2 ? 1 : random.between(1, 9);
  }
}

std::vector<Case> some_cases() {
  std::vector<Case> chosen;
  for (const Case& item : cases()) {
    if (item.threads == 1) chosen.push_back(item);
    if (item.threads == 1 && chosen.back().contents == Contents::empty) chosen.back().size = 512U << 10U;
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(
    Every, FaultTest,
    testing::Combine(testing::ValuesIn(some_cases()),
                     testing::Values(Fault{"one_error", FaultyStorage::everything, EIO, false},
                                     Fault{"disk_full",
                                           FaultyStorage::writes | FaultyStorage::zeroes | FaultyStorage::allocates |
                                               FaultyStorage::truncates,
                                           ENOSPC, true},
                                     Fault{"no_change_any_more", FaultyStorage::changes, EIO, true})),
    [](const auto& param) { return std::get<0>(param.param).shape.name + "_" + std::get<1>(param.param).name; });

}  // namespace
}  // namespace penstock::test
