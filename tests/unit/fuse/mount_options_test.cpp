// SPDX-License-Identifier: Apache-2.0
#include "fuse/mount_options.hpp"

#include <gtest/gtest.h>

namespace penstock::fuse {
namespace {

MountOptions parsed(std::string_view list) {
  MountOptions options;
  const auto result = parse_mount_options(list, options);
  EXPECT_TRUE(result) << list << ": " << result.error().message();
  return options;
}

void expect_refused(std::string_view list, std::string_view named) {
  MountOptions options;
  const auto result = parse_mount_options(list, options);
  ASSERT_FALSE(result) << list;
  EXPECT_EQ(result.error().number(), EINVAL);
  EXPECT_NE(result.error().message().find(named), std::string::npos) << result.error().message();
}

TEST(MountOptions, LaterWordsWin) {
  EXPECT_TRUE(parsed("rw,ro").read_only);
  EXPECT_FALSE(parsed("ro,rw").read_only);
  EXPECT_EQ(parsed("uid=1,uid=2").uid, 2U);
  EXPECT_EQ(parsed("mode=600,umask=027").mode, 0640U);
}

TEST(MountOptions, ABackslashKeepsACommaInAValue) {
  const auto options = parsed(R"(fsname=a\,b\\c=d,ro)");
  EXPECT_EQ(options.fsname, R"(a,b\c=d)");
  EXPECT_TRUE(options.read_only);
}

TEST(MountOptions, EmptyWordsAreNone) {
  EXPECT_TRUE(parsed(",,ro,,").read_only);
  EXPECT_FALSE(parsed("").read_only);
}

TEST(MountOptions, TakesWhatMountPassesOn) {
  const auto options =
      parsed("defaults,nosuid,nodev,noexec,noatime,x-systemd.requires=a,x-y,_netdev,default_permissions");
  EXPECT_EQ(options.kernel, (std::vector<std::string>{"noexec", "noatime"}));
}

TEST(MountOptions, TakesWhatMeansNothingToIt) {
  const auto options = parsed(
      "strictatime,nostrictatime,dirsync,symfollow,nosymfollow,lazytime,nolazytime,silent,loud,mand,nomand,iversion,"
      "noiversion");
  EXPECT_EQ(options.kernel, (std::vector<std::string>{"dirsync"}));
}

TEST(MountOptions, WhatIsUnknownOrNonsenseIsNamed) {
  for (const char* word :
       {"frobnicate", "frobnicate=1", "uid=", "uid", "uid=-1", "uid=4294967295", "mode=8", "mode=1000", "max_read=4095",
        "max_write=1048577", "max_read=4096k", "fsname=", "ro=1", "suid", "dev", "=x"}) {
    expect_refused(word, std::string("'") + word + "'");
  }
}

TEST(FuseConf, UserAllowOtherStandsOnALineOfItsOwn) {
  EXPECT_TRUE(allows_other_users("# a\nmount_max = 5\n  user_allow_other \n"));
  EXPECT_TRUE(allows_other_users("user_allow_other # yes"));
  EXPECT_FALSE(allows_other_users("#user_allow_other\n"));
  EXPECT_FALSE(allows_other_users("user_allow_others\nx user_allow_other\n"));
  EXPECT_FALSE(allows_other_users(""));
}

}  // namespace
}  // namespace penstock::fuse
