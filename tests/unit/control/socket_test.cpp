// SPDX-License-Identifier: Apache-2.0
#include "control/socket.hpp"

#include "tests/support/expect.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace penstock::control {
namespace {

class SocketTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(name_.data()), nullptr);
    directory_ = name_.data();
  }
  void TearDown() override { rmdir(directory_.c_str()); }

  std::string directory_;

 private:
  std::array<char, 32> name_{"/tmp/penstock-unit-XXXXXX"};
};

TEST_F(SocketTest, AListeningSocketIsPrivateAndAnswersItsUser) {
  const auto listening = test::must(listen_on(directory_, "1"));
  EXPECT_EQ(listening.path, directory_ + "/1.sock");
  struct stat attributes{};
  ASSERT_EQ(stat(listening.path.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 0777U, 0600U);
  const auto client = test::must(connect_to(listening.path));
  const Descriptor served(accept(listening.descriptor.get(), nullptr, nullptr));
  EXPECT_TRUE(is_same_user(served.get()));
  unlink(listening.path.c_str());
}

TEST_F(SocketTest, SocketsOfDeadDaemonsAreRemovedAndLivingOnesStay) {
  const auto living = test::must(listen_on(directory_, "1"));
  const std::string dead = test::must(listen_on(directory_, "2")).path;
  EXPECT_EQ(access(dead.c_str(), F_OK), 0);
  const auto next = test::must(listen_on(directory_, "3"));
  EXPECT_NE(access(dead.c_str(), F_OK), 0);
  EXPECT_OK(connect_to(living.path));
  unlink(living.path.c_str());
  unlink(next.path.c_str());
}

TEST_F(SocketTest, TheSocketOfADeadDaemonWithTheSameProcessIdIsReplaced) {
  test::must(listen_on(directory_, "1"));
  const auto again = test::must(listen_on(directory_, "1"));
  EXPECT_OK(connect_to(again.path));
  unlink(again.path.c_str());
}

TEST_F(SocketTest, NamesThatDoNotFitAreRefused) {
  EXPECT_ERRNO(listen_on("/" + std::string(200, 'x'), "1"), ENAMETOOLONG);
  EXPECT_ERRNO(connect_to("/" + std::string(200, 'x')), ENAMETOOLONG);
  EXPECT_ERRNO(connect_to(directory_ + "/none.sock"), ENOENT);
}

TEST(RuntimeDirectory, BelongsToTheUserAlone) {
  const std::string directory = test::must(runtime_directory());
  struct stat attributes{};
  ASSERT_EQ(stat(directory.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_uid, geteuid());
  EXPECT_EQ(attributes.st_mode & 0022U, 0U);
}

}  // namespace
}  // namespace penstock::control
