// SPDX-License-Identifier: Apache-2.0
// A power cut at any moment leaves an image that is consistent, leaks at most, and holds all that was flushed.
// PENSTOCK_CRASHES: crash images a case (default 120).
#include "tests/crash/scenario.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/process.hpp"
#include "tests/support/recording_storage.hpp"
#include "tests/support/temporary_directory.hpp"

#include <cstdlib>
#include <fstream>

namespace penstock::test {
namespace {

constexpr unsigned kOperations = 220;

std::size_t crash_count() {
  const char* given = std::getenv("PENSTOCK_CRASHES");
  return given == nullptr ? 120 : std::strtoull(given, nullptr, 0);
}

bool lazy(const Shape& shape) {
  return shape.options.count("lazy_refcounts") != 0;
}

void save(Storage& storage, const std::string& path) {
  std::vector<std::byte> bytes(must(storage.size()));
  must(storage.read({0}, bytes));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

class CrashTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (GetParam().contents != Contents::empty && !have_program("qemu-img")) GTEST_SKIP() << "needs qemu-utils";
  }

  /// Empty, or what is wrong with the image left behind.
  static std::string examine(const Start& start, const History& history, const ShapedImage& left, std::size_t moment,
                             bool write_on) {
    if (lazy(left.shape)) {
      // Counts may be behind until the repair that a writable open begins with.
      const auto repaired = left.open(true);
      if (!repaired) return "repair: " + repaired.error().message();
      if (const auto closed = (*repaired)->close(); !closed) return "repair: " + closed.error().message();
    }
    const auto report = left.check();
    if (!report) return "check: " + report.error().message();
    if (report->corruptions != 0 || report->check_errors != 0) {
      return "check: " + std::to_string(report->corruptions) + " corruptions, " + std::to_string(report->check_errors) +
             " errors";
    }
    {
      auto image = start.open(left, false);
      if (!image) return "open: " + image.error().message();
      auto problem = find_problem(**image, history, moment);
      if (!problem.empty()) return problem;
    }
    return write_on ? examine_writing_on(start, left) : std::string();
  }

  /// The image can be used as if nothing had happened.
  static std::string examine_writing_on(const Start& start, const ShapedImage& left) {
    auto image = start.open(left, true);
    if (!image) return "writable open: " + image.error().message();
    Case one_thread = GetParam();
    one_thread.threads = 1;
    one_thread.size = (*image)->virtual_size();
    History history(one_thread.size / kSectorSize, one_thread.size);
    Load load(one_thread, **image, history, [] { return std::size_t{0}; });
    load.take_start();
    Random random(one_thread.size);
    if (load.run(random, 30) != 0) return "writing on failed";
    if (const auto closed = (*image)->close(); !closed) return "close: " + closed.error().message();
    const auto report = left.check();
    if (!report) return "check after writing on: " + report.error().message();
    return report->corruptions == 0 ? std::string() : "corruptions after writing on";
  }

  /// The reference implementation's opinion of an image left behind.
  static std::string ask_qemu(const Start& start, const ShapedImage& left) {
    if (!have_program("qemu-img") || start.image.shape.format == "add-cow") return {};  // no other tool reads it
    // QEMU makes such QED images and then cannot open them.
    if (left.shape.options.count("table_size") != 0) return {};
    const TemporaryDirectory directory;
    save(*left.file, directory.file("image"));
    if (left.data != nullptr) save(*left.data, directory.file("data"));
    if (start.backing != nullptr) save(*start.backing, directory.file("base"));
    const auto enter = "cd '" + directory.path().string() + "' && ";
    const auto checked = run(enter + "qemu-img check image");
    if (checked.status != 0 && checked.status != 3) return checked.output;  // 3: leaks
    if (GetParam().contents != Contents::snapshot) return {};
    const auto compared = run(enter + "qemu-img convert -q -f qcow2 -l one -O raw image now");
    if (compared.status != 0) return compared.output;
    std::ifstream now(directory.file("now"), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(now), {}};
    const auto first = std::as_bytes(std::span(bytes));
    const auto original = must(start.open(start.image, false));
    std::vector<std::byte> before(original->virtual_size());
    must(original->read({0}, before));
    // qemu-img gives it the size that the disk has now.
    const auto length = std::min(first.size(), before.size());
    return std::ranges::equal(first.first(length), std::span(before).first(length)) ? "" : "the snapshot has changed";
  }
};

TEST_P(CrashTest, LeavesAConsistentImageWithAllThatWasFlushed) {
  Random random("CrashTest");
  const auto start = Start::make(GetParam());
  // What the load works on is a copy: the journal and the start keep what was there before.
  const auto memory = std::dynamic_pointer_cast<MemoryStorage>(start.image.file)->copy("image");
  std::shared_ptr<Storage> data;
  Journal journal;
  const auto file = journal.add(memory);
  if (start.image.data != nullptr) {
    data = journal.add(std::dynamic_pointer_cast<MemoryStorage>(start.image.data)->copy("data"));
  }
  History history(GetParam().size / kSectorSize, GetParam().size);
  {
    const auto image = must(start.open(start.image.with(file, data), true));
    Load load(GetParam(), *image, history, [&journal] { return journal.position(); });
    load.take_start();
    ASSERT_EQ(load.run(random, kOperations / GetParam().threads), 0U);
    if (random.chance(50)) {
      ASSERT_TRUE(load.flush());
    }
    ASSERT_OK(image->close());
  }
  const auto left = start.image.with(memory, data);
  const auto report = left.check();
  ASSERT_OK(report);
  EXPECT_EQ(report->corruptions, 0U);
  EXPECT_EQ(report->leaks, 0U) << "closed cleanly";

  std::size_t number = 0;
  journal.crash(random, crash_count(), [&](const CrashImage& crash) {
    const auto dead = start.image.with(crash.devices[0], data == nullptr ? nullptr : crash.devices[1]);
    const bool by_qemu = ++number % 40 == 0 && !lazy(GetParam().shape);
    auto problem = by_qemu ? ask_qemu(start, dead) : std::string();
    if (problem.empty()) problem = examine(start, history, dead, crash.moment, number % 5 == 0);
    EXPECT_EQ(problem, "") << crash.what;
    return problem.empty();
  });
}

INSTANTIATE_TEST_SUITE_P(Every, CrashTest, testing::ValuesIn(cases()),
                         [](const auto& param) { return param.param.shape.name; });

}  // namespace
}  // namespace penstock::test
