// SPDX-License-Identifier: Apache-2.0
#include "storage/file/file_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/temporary_directory.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>

namespace penstock::test {
namespace {

class FileOpenTest : public testing::Test {
 protected:
  static std::string refusal(const std::string& path, bool writable, int number) {
    const auto opened = open_file_storage(path, {.writable = writable});
    EXPECT_TRUE(failed_with(opened, number));
    return opened ? "" : opened.error().message();
  }
  TemporaryDirectory directory_;
};

TEST_F(FileOpenTest, WhatCannotHoldAnImageIsRefusedByItsKind) {
  const auto fifo = directory_.file("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const auto socket_name = directory_.file("socket");
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_name.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  for (const bool writable : {false, true}) {
    EXPECT_EQ(refusal(fifo, writable, EINVAL), "is a FIFO, not a file or block device");
    EXPECT_EQ(refusal(socket_name, writable, EINVAL), "is a socket, not a file or block device");
    EXPECT_EQ(refusal("/dev/null", writable, EINVAL), "is a character device, not a file or block device");
    EXPECT_EQ(refusal(directory_.path().string(), writable, EISDIR), "Is a directory");
    EXPECT_EQ(refusal(directory_.file("none"), writable, ENOENT), "No such file or directory");
    EXPECT_EQ(refusal("", writable, ENOENT), "No such file or directory");
    EXPECT_EQ(refusal(directory_.file("fifo/below"), writable, ENOTDIR), "Not a directory");
  }
  close(listener);
  EXPECT_ERRNO(create_file_storage(fifo), EINVAL);
  EXPECT_ERRNO(create_file_storage(directory_.path().string()), EISDIR);
}

TEST_F(FileOpenTest, ReadOnlyFileOpenedForWritingSaysSo) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write every file";
  const auto path = directory_.file("image");
  std::ofstream(path) << "x";
  ASSERT_EQ(chmod(path.c_str(), 0400), 0);
  EXPECT_EQ(refusal(path, true, EACCES), "Permission denied (opening it for writing; read-only it may work)");
  EXPECT_OK(open_file_storage(path, {}));
}

TEST_F(FileOpenTest, CreateEmptiesAnExistingFile) {
  const auto path = directory_.file("image");
  std::ofstream(path) << "old contents";
  const auto storage = must(create_file_storage(path));
  EXPECT_TRUE(storage->writable());
  EXPECT_EQ(must(storage->size()), 0U);
}

TEST_F(FileOpenTest, CreateLeavesAFileInUseAsItIs) {
  const auto path = directory_.file("image");
  std::ofstream(path) << "old contents";
  const auto user = must(open_file_storage(path, {}));
  EXPECT_ERRNO(create_file_storage(path), EAGAIN);
  EXPECT_EQ(must(user->size()), 12U);
}

TEST_F(FileOpenTest, CreateThroughADanglingLinkIsRefused) {
  std::filesystem::create_symlink("nowhere", directory_.file("link"));
  EXPECT_ERRNO(create_file_storage(directory_.file("link")), EEXIST);
  EXPECT_ERRNO(create_file_storage(directory_.file("no/such/directory")), ENOENT);
}

TEST_F(FileOpenTest, DescriptorsAreNotInheritedAndBlock) {
  const auto storage = must(create_file_storage(directory_.file("image")));
  EXPECT_NE(fcntl(storage->facts().descriptor, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(fcntl(storage->facts().descriptor, F_GETFL) & O_NONBLOCK, 0);
}

}  // namespace
}  // namespace penstock::test
