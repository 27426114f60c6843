// SPDX-License-Identifier: Apache-2.0
// Failures below the storage, at the system calls of a real file: interrupted, short, and failing calls. This program
// defines the calls itself.
#include "tests/crash/load.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/layered.hpp"
#include "tests/support/temporary_directory.hpp"

#include "base/text.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace penstock::test {
namespace {

/// What the calls do, while a test runs. Threads: one changes the image; the calls of others are counted, too.
struct Calls {
  std::atomic<bool> disturbed{false};         ///< every other call is interrupted, every transfer short
  std::atomic<std::int64_t> until_error{-1};  ///< so many calls go well before one fails; negative: none does
  std::atomic<bool> for_ever{false};
  std::atomic<int> number{EIO};
  std::atomic<bool> fired{false};
  std::atomic<std::uint64_t> count{0};
};

Calls& calls() {
  static Calls state;
  return state;
}

/// Whether this call fails, with errno set.
bool fails() {
  Calls& state = calls();
  const auto call = state.count++;
  if (state.disturbed && call % 2 == 0) {
    errno = EINTR;
    return true;
  }
  if (state.until_error < 0) return false;
  if (state.until_error > 0) {
    --state.until_error;
    return false;
  }
  if (!state.for_ever) state.until_error = -1;
  state.fired = true;
  errno = state.number;
  return true;
}

std::size_t shortened(std::size_t length) {
  return calls().disturbed && length > 1 ? 1 + (length - 1) * 2 / 3 : length;
}

}  // namespace
}  // namespace penstock::test

extern "C" {

ssize_t pread64(int file, void* buffer, std::size_t length, off64_t offset) {
  if (penstock::test::fails()) return -1;
  return syscall(SYS_pread64, file, buffer, penstock::test::shortened(length), offset);
}
ssize_t pwrite64(int file, const void* buffer, std::size_t length, off64_t offset) {
  if (penstock::test::fails()) return -1;
  return syscall(SYS_pwrite64, file, buffer, penstock::test::shortened(length), offset);
}
int fdatasync(int /*file*/) {
  // No power is cut here: waiting for the disk would show nothing.
  return penstock::test::fails() ? -1 : 0;
}
int fallocate64(int file, int mode, off64_t offset, off64_t length) {
  if (penstock::test::fails()) return -1;
  return static_cast<int>(syscall(SYS_fallocate, file, mode, offset, length));
}
int ftruncate64(int file, off64_t length) noexcept {
  if (penstock::test::fails()) return -1;
  return static_cast<int>(syscall(SYS_ftruncate, file, length));
}
}  // extern "C"

namespace penstock::test {
namespace {

class SystemCalls : public testing::TestWithParam<const char*> {
 protected:
  SystemCalls() {
    for (const Case& item : cases()) {
      if (item.shape.name == GetParam()) case_ = item;
    }
    case_.size = 256U << 10U;
    case_.may_fail = true;
    // The base is made for the size.
    start_ = Start::make(case_);
  }
  ~SystemCalls() override { well(); }

  static void well() {
    calls().disturbed = false;
    calls().until_error = -1;
  }

  /// The image in files of its own. Their storages are opened here, so that a failed flush stays with them.
  ShapedImage on_files(const TemporaryDirectory& directory) const {
    const auto put = [&](const std::shared_ptr<Storage>& from, const char* name) -> std::shared_ptr<Storage> {
      if (from == nullptr) return nullptr;
      save_file(*from, directory.file(name));
      return must(open_storage(directory.file(name), {.writable = true}));
    };
    return start_.image.with(put(start_.image.file, "image"), put(start_.image.data, "data"));
  }

  /// Opens, uses and closes the image. Gives the errors that were met.
  std::size_t use(const ShapedImage& image, History& history, Random& random) {
    std::size_t errors = 0;
    const auto opened = start_.open(image, true);
    if (!opened) return 1;
    Load load(case_, **opened, history, [] { return std::size_t{0}; });
    errors += load.run(random, 20);
    if (case_.streams) errors += load.stream(random, 20);
    const bool flushed = load.flush();
    well();
    const auto again = (*opened)->flush();
    const auto closed = (*opened)->close();
    // A flush that failed in the file is told for ever: the kernel has forgotten what it lost.
    EXPECT_TRUE(again || !closed) << "close hides that a flush failed";
    return errors + (flushed ? 0 : 1) + (closed ? 0 : 1);
  }

  void expect_sound(const ShapedImage& image, const History& history) {
    const auto report = image.check();
    ASSERT_OK(report);
    EXPECT_EQ(report->corruptions, 0U) << image.findings();
    const auto opened = must(start_.open(image, false));
    EXPECT_EQ(find_problem(*opened, history, SIZE_MAX - 1), "");
  }

  Case case_;
  Start start_;
};

TEST_P(SystemCalls, InterruptedAndShortOnesAreNobodysConcern) {
  Random random("SystemCalls.Disturbed");
  for (int run = 0; run < 4; ++run) {
    const TemporaryDirectory directory;
    const auto image = on_files(directory);
    History history(case_.size_max() / kSectorSize, case_.size);
    Load(case_, *must(start_.open(start_.image, false)), history, {}).take_start();
    calls().disturbed = true;
    EXPECT_EQ(use(image, history, random), 0U);
    ASSERT_NO_FATAL_FAILURE(expect_sound(image, history));
  }
}

TEST_P(SystemCalls, OneThatFailsIsReportedAndCorruptsNothing) {
  Random random("SystemCalls.Failing");
  const auto seed = random.next();
  for (const int number : {EIO, ENOSPC}) {
    for (std::int64_t call = 0;; call += call < 10 ? 1 : 1 + static_cast<std::int64_t>(random.below(8))) {
      SCOPED_TRACE(concat("call ", static_cast<std::uint64_t>(call), " fails with ", number == EIO ? "EIO" : "ENOSPC"));
      const TemporaryDirectory directory;
      const auto image = on_files(directory);
      History history(case_.size_max() / kSectorSize, case_.size);
      Load(case_, *must(start_.open(start_.image, false)), history, {}).take_start();
      Random same(seed);
      calls().number = number;
      calls().for_ever = call % 3 == 0;
      calls().fired = false;
      calls().until_error = call;
      static_cast<void>(use(image, history, same));
      well();
      if (!calls().fired) break;
      ASSERT_NO_FATAL_FAILURE(expect_sound(image, history));
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Every, SystemCalls,
                         testing::Values("v3_512", "v3_backing_streaming", "qed_backing_streaming",
                                         "add_cow_backing_streaming", "data_file"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace penstock::test
