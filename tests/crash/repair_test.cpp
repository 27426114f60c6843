// SPDX-License-Identifier: Apache-2.0
// A repair that is cut short by a power cut or by a failing disk does no harm: the next one ends it, and the guest sees
// what one whole repair would have shown.
#include "tests/crash/crash_count.hpp"
#include "tests/crash/recorded_run.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/faulty_storage.hpp"
#include "tests/support/process.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

namespace penstock::test {
namespace {

constexpr unsigned kPercent = 10;      // of all crash images
constexpr unsigned kOperations = 120;  // of the run before the repair
constexpr std::size_t kDamaged = 4;    // images of a run that are repaired
constexpr std::uint64_t kFaultsMax = 12;

std::vector<Case> one_thread_cases() {
  std::vector<Case> chosen;
  for (const Case& item : cases()) {
    if (item.threads == 1) chosen.push_back(item);
  }
  return chosen;
}

ShapedImage copy_of(const ShapedImage& image) {
  const auto copy = [](const std::shared_ptr<Storage>& storage) -> std::shared_ptr<Storage> {
    return storage == nullptr ? nullptr : std::dynamic_pointer_cast<MemoryStorage>(storage)->copy();
  };
  return image.with(copy(image.file), copy(image.data));
}

/// Wrong counts, and sometimes a refcount block that nobody finds any more.
void scribble_over_refcounts(Storage& storage, Random& random) {
  constexpr std::uint64_t kTableField = 48;
  const auto number_at = [&storage](std::uint64_t offset) {
    std::vector<std::byte> bytes(8);
    must(storage.read({offset}, bytes));
    return load_be<std::uint64_t>(std::span<const std::byte>(bytes), 0);
  };
  const auto table = number_at(kTableField);
  const auto block = number_at(table);
  if (random.chance(30)) return must(storage.write({table}, std::vector<std::byte>(8)));
  for (unsigned change = 0; change < 12; ++change) {
    std::vector<std::byte> bytes(random.between(1, 4));
    if (random.chance(50)) random.fill(bytes);
    must(storage.write({block + random.below(200)}, bytes));
  }
}

class RepairTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (GetParam().contents != Contents::empty && !have_program("qemu-img")) GTEST_SKIP() << "needs qemu-utils";
  }

  /// Images that a repair has something to do with.
  std::vector<ShapedImage> damaged(const RecordedRun& run, Random& random) {
    std::vector<ShapedImage> made;
    run.journal().crash(random, kDamaged, [&](const CrashImage& crash) {
      made.push_back(run.dead(crash));
      if (made.back().shape.format == "qcow2" && made.size() % 2 == 0) {
        scribble_over_refcounts(*made.back().file, random);
      }
      return true;
    });
    return made;
  }
  static std::vector<std::byte> contents(const Start& start, const ShapedImage& image) {
    const auto opened = must(start.open(image, false));
    std::vector<std::byte> bytes(opened->virtual_size());
    must(opened->read({0}, bytes));
    return bytes;
  }
  /// Repairs, and says what is wrong after it.
  static std::string repair_and_examine(const Start& start, const ShapedImage& image,
                                        const std::vector<std::byte>& expected) {
    const auto repaired = image.check(Repair::all);
    if (!repaired) return "the next repair: " + repaired.error().message();
    const auto report = image.check();
    if (!report) return "the check after it: " + report.error().message();
    if (report->corruptions != 0 || report->check_errors != 0) return "it is not mended: " + image.findings();
    return contents(start, image) == expected ? "" : "the disk shows something else";
  }
};

TEST_P(RepairTest, CutShortAnywhereIsEndedByTheNext) {
  Random random("RepairTest.Cut");
  const auto count = crash_images_of(one_thread_cases().size() * kDamaged, kPercent);
  const RecordedRun run(GetParam(), Start::make(GetParam()), random,
                        {.operations = kOperations, .wrap = {}, .heal = {}});
  for (const ShapedImage& image : damaged(run, random)) {
    const auto whole = copy_of(image);
    must(whole.check(Repair::all));
    const auto expected = contents(run.start(), whole);
    Journal journal;
    const auto memories = copy_of(image);
    const auto record = [&](const std::shared_ptr<Storage>& storage) {
      return storage == nullptr ? nullptr : journal.add(std::dynamic_pointer_cast<MemoryStorage>(storage));
    };
    const auto file = record(memories.file);
    must(image.with(file, record(memories.data)).check(Repair::all));
    journal.crash(random, count, [&](const CrashImage& crash) {
      count_crash_image();
      EXPECT_EQ(repair_and_examine(run.start(), run.dead(crash), expected), "") << crash.what;
      return !HasFailure();
    });
    if (HasFailure()) return;
  }
}

TEST_P(RepairTest, FailingAnywhereIsEndedByTheNext) {
  Random random("RepairTest.Fault");
  const RecordedRun run(GetParam(), Start::make(GetParam()), random,
                        {.operations = kOperations, .wrap = {}, .heal = {}});
  for (const ShapedImage& image : damaged(run, random)) {
    const auto whole = copy_of(image);
    must(whole.check(Repair::all));
    const auto expected = contents(run.start(), whole);
    for (std::uint64_t call = 0; call < kFaultsMax; ++call) {
      SCOPED_TRACE(concat("call ", call, " fails"));
      const auto memories = copy_of(image);
      const auto disk = std::make_shared<FaultyStorage>(memories.file);
      disk->arm({.after = call, .effect = static_cast<FaultyStorage::Effect>(random.below(3))});
      const auto done = image.with(disk, memories.data).check(Repair::all);
      if (!disk->fired()) break;
      const auto report = memories.check();
      const bool mended = done && done->corruptions == 0 && done->check_errors == 0;
      EXPECT_FALSE(mended && (!report || report->corruptions != 0)) << "it said that it was mended";
      ASSERT_EQ(repair_and_examine(run.start(), memories, expected), "");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Every, RepairTest, testing::ValuesIn(one_thread_cases()),
                         [](const auto& param) { return param.param.shape.name; });

}  // namespace
}  // namespace penstock::test
