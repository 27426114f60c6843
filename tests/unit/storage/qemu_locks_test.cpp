// SPDX-License-Identifier: Apache-2.0
#include "storage/file/qemu_locks.hpp"
#include "storage/file/file_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

namespace penstock::test {
namespace {

constexpr StorageOptions kReader{};
constexpr StorageOptions kWriter{.writable = true};

class QemuLocksTest : public testing::Test {
 protected:
  QemuLocksTest() { EXPECT_OK(must(create_file_storage(path_))->truncate(1U << 20U)); }

  TemporaryDirectory directory_;
  std::string path_ = directory_.file("image");
};

TEST_F(QemuLocksTest, ReadersShareAndAWriterIsAlone) {
  {
    const auto one = must(open_file_storage(path_, kReader));
    EXPECT_OK(open_file_storage(path_, kReader));
    EXPECT_ERRNO(open_file_storage(path_, kWriter), EAGAIN);
  }
  const auto writer = must(open_file_storage(path_, kWriter));
  EXPECT_ERRNO(open_file_storage(path_, kReader), EAGAIN);
  EXPECT_ERRNO(open_file_storage(path_, kWriter), EAGAIN);
  EXPECT_OK(open_file_storage(path_, {.lock = false}));
}

TEST_F(QemuLocksTest, RefusedOpenLeavesNoLockBehind) {
  auto reader = must(open_file_storage(path_, kReader));
  EXPECT_ERRNO(take_qemu_locks(must(open_file_storage(path_, {.writable = true, .lock = false}))->facts().descriptor,
                               LockMode::write),
               EAGAIN);
  const auto other = must(open_file_storage(path_, {.writable = true, .lock = false}));
  EXPECT_ERRNO(take_qemu_locks(other->facts().descriptor, LockMode::write), EAGAIN);
  EXPECT_OK(open_file_storage(path_, kReader));
  reader.reset();
  EXPECT_OK(take_qemu_locks(other->facts().descriptor, LockMode::write));
}

class QemuItself : public QemuLocksTest {
 protected:
  void SetUp() override {
    if (!have_program("qemu-img") || !have_program("qemu-io")) GTEST_SKIP() << "needs qemu-utils";
    // Not raw: the tools ask for fewer permissions there.
    ASSERT_EQ(run("qemu-img create -q -f qcow2 '" + path_ + "' 1M").status, 0);
  }
  static ProcessResult write_by_qemu(const std::string& path) {
    return run("qemu-io -f qcow2 -c 'write -P 1 0 512' '" + path + "'");
  }
};

TEST_F(QemuItself, IsKeptOutByOurWriter) {
  auto writer = must(open_file_storage(path_, kWriter));
  const auto info = run("qemu-img info '" + path_ + "'");
  EXPECT_NE(info.status, 0);
  EXPECT_NE(info.output.find("lock"), std::string::npos) << info.output;
  EXPECT_NE(write_by_qemu(path_).status, 0);
  writer.reset();
  EXPECT_EQ(write_by_qemu(path_).status, 0);
}

TEST_F(QemuItself, MayReadBesideOurReaderButNotWrite) {
  const auto reader = must(open_file_storage(path_, kReader));
  EXPECT_EQ(run("qemu-img info '" + path_ + "'").status, 0);
  const auto written = write_by_qemu(path_);
  EXPECT_NE(written.status, 0);
  EXPECT_NE(written.output.find("lock"), std::string::npos) << written.output;
}

/// qemu-io that has the image open until the end of this object's life.
class QemuHolding {
 public:
  QemuHolding(const std::string& path, bool read_only) {
    const auto command = std::string("qemu-io -f qcow2 ") + (read_only ? "-r '" : "'") + path + "' >/dev/null 2>&1";
    pipe_ = popen(command.c_str(), "we");
    // Looked for without locks of our own, which would keep qemu-io out.
    const auto storage = must(open_file_storage(path, {.lock = false}));
    for (int attempt = 0; attempt < 1000 && !locked(storage->facts().descriptor); ++attempt) usleep(5000);
    EXPECT_TRUE(locked(storage->facts().descriptor));
  }
  QemuHolding(const QemuHolding&) = delete;
  QemuHolding& operator=(const QemuHolding&) = delete;
  ~QemuHolding() {
    std::fputs("quit\n", pipe_);
    pclose(pipe_);
  }

 private:
  static bool locked(int descriptor) {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_start = 203;  // the last one that QEMU takes
    lock.l_len = 1;
    return fcntl(descriptor, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  }

  FILE* pipe_;
};

TEST_F(QemuItself, KeepsOurReaderOutWhileItWrites) {
  const QemuHolding qemu(path_, false);
  const auto opened = open_file_storage(path_, kReader);
  ASSERT_TRUE(failed_with(opened, EAGAIN));
  EXPECT_NE(opened.error().message().find("in use by another process (QEMU or penstock)"), std::string::npos);
  EXPECT_ERRNO(open_file_storage(path_, kWriter), EAGAIN);
}

TEST_F(QemuItself, KeepsOurWriterOutWhileItReads) {
  const QemuHolding qemu(path_, true);
  EXPECT_ERRNO(open_file_storage(path_, kWriter), EAGAIN);
  EXPECT_OK(open_file_storage(path_, kReader));
}

}  // namespace
}  // namespace penstock::test
