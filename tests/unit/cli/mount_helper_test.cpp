// SPDX-License-Identifier: Apache-2.0
#include "cli/mount_helper.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace penstock::cli {
namespace {

using Words = std::vector<std::string>;

FlagKind lookup(const std::string& name) {
  if (name == "stream" || name == "no-stream" || name == "foreground" || name == "help") return FlagKind::plain;
  if (name == "threads" || name == "stream-speed" || name == "discard" || name == "stream-base") return FlagKind::value;
  return FlagKind::none;
}

/// What mount(8) calls with these options gives.
Words arguments_for(const std::string& options) {
  const auto call = read_mount_call({"a.qcow2", "/mnt", "-o", options}, lookup);
  EXPECT_TRUE(call) << options << ": " << call.error().message();
  return call ? call->arguments : Words();
}

std::string refusal_of(const Words& words) {
  const auto call = read_mount_call(words, lookup);
  return call ? "" : call.error().message();
}

TEST(MountHelper, KnowsItsNames) {
  EXPECT_EQ(helper_role("/sbin/mount.penstock"), HelperRole::mount);
  EXPECT_EQ(helper_role("mount.fuse.penstock"), HelperRole::mount);
  EXPECT_EQ(helper_role("/sbin/umount.fuse.penstock"), HelperRole::umount);
  EXPECT_EQ(helper_role("umount.penstock"), HelperRole::umount);
  EXPECT_EQ(helper_role("/usr/bin/penstock"), HelperRole::none);
  EXPECT_EQ(helper_role(""), HelperRole::none);
}

TEST(MountHelper, FlagsOfMountAreMountOptions) {
  EXPECT_EQ(arguments_for("rw,stream,stream_speed=5M,threads=3"),
            (Words{"mount", "--stream", "--stream-speed=5M", "--threads=3", "-o", "rw", "--", "a.qcow2", "/mnt"}));
  EXPECT_EQ(arguments_for("no-stream"), (Words{"mount", "--no-stream", "--", "a.qcow2", "/mnt"}));
}

TEST(MountHelper, TheRestIsHandedOn) {
  EXPECT_EQ(arguments_for("ro,uid=1,nonsense=3,foreground"),
            (Words{"mount", "-o", "ro,uid=1,nonsense=3,foreground", "--", "a.qcow2", "/mnt"}));
}

TEST(MountHelper, WhatIsForMountAndSystemdIsLeftOut) {
  EXPECT_EQ(arguments_for("defaults,noauto,nofail,_netdev,user=me,users,comment=a,x-systemd.requires=b,X-mount.mkdir"),
            (Words{"mount", "--", "a.qcow2", "/mnt"}));
}

TEST(MountHelper, DiscardIsAPolicyOrAWord) {
  EXPECT_EQ(arguments_for("discard"), (Words{"mount", "--discard=unmap", "--", "a.qcow2", "/mnt"}));
  EXPECT_EQ(arguments_for("nodiscard"), (Words{"mount", "--discard=ignore", "--", "a.qcow2", "/mnt"}));
  EXPECT_EQ(arguments_for("nodiscard,threads=3,discard,threads=4"),
            (Words{"mount", "--discard=unmap", "--threads=4", "--", "a.qcow2", "/mnt"}));
  EXPECT_EQ(arguments_for("discard=ignore"), (Words{"mount", "--discard=ignore", "--", "a.qcow2", "/mnt"}));
}

TEST(MountHelper, BackslashesAreForCommasAndStayWhereTheyAreHandedOn) {
  EXPECT_EQ(arguments_for(R"(stream_base=a\,b\\c,fsname=d\,e)"),
            (Words{"mount", R"(--stream-base=a,b\c)", "-o", R"(fsname=d\,e)", "--", "a.qcow2", "/mnt"}));
}

TEST(MountHelper, NamesMayLookLikeFlags) {
  const auto call = read_mount_call({"-o", "-t", "-o", "ro"}, lookup);
  ASSERT_TRUE(call) << call.error().message();
  EXPECT_EQ(call->arguments, (Words{"mount", "-o", "ro", "--", "-o", "-t"}));
}

TEST(MountHelper, UnderstandsWhatMountPasses) {
  const auto call = read_mount_call({"a", "/m", "-sfnvr", "-t", "fuse.penstock", "-oro,nofail"}, lookup);
  ASSERT_TRUE(call) << call.error().message();
  EXPECT_TRUE(call->fake);
  EXPECT_TRUE(call->no_fail);
  EXPECT_EQ(call->image, "a");
  EXPECT_EQ(call->arguments, (Words{"mount", "--read-only", "-o", "ro", "--", "a", "/m"}));
}

TEST(MountHelper, RefusesWhatCannotBe) {
  EXPECT_NE(refusal_of({"a", "/m", "-o", "remount,ro"}).find("/m: a mounted image cannot be remounted"),
            std::string::npos);
  EXPECT_NE(refusal_of({"a", "/m", "-o", "threads"}).find("needs a value"), std::string::npos);
  EXPECT_NE(refusal_of({"a", "/m", "-o", "stream_speed=,ro"}).find("needs a value"), std::string::npos);
  EXPECT_NE(refusal_of({"a", "/m", "-o", "stream=yes"}).find("takes no"), std::string::npos);
  EXPECT_NE(refusal_of({"a", "/m", "-o"}).find("needs a value"), std::string::npos);
  EXPECT_NE(refusal_of({"a", "/m", "-x"}).find("unknown flag"), std::string::npos);
  EXPECT_NE(refusal_of({"a", "/m", "b"}).find("too many"), std::string::npos);
  EXPECT_NE(refusal_of({"a"}).find("usage"), std::string::npos);
}

TEST(MountHelper, ExitStatusesAreThoseOfMount) {
  EXPECT_EQ(mount_exit_status(0), 0);
  EXPECT_EQ(mount_exit_status(1), 32);
  EXPECT_EQ(mount_exit_status(2), 1);
}

}  // namespace
}  // namespace penstock::cli
