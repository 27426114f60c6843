// SPDX-License-Identifier: Apache-2.0
#include "fuse/mountpoint.hpp"

#include <gtest/gtest.h>

namespace penstock::fuse {
namespace {

TEST(ViewName, IsTheImagesNameWithAnotherSuffix) {
  EXPECT_EQ(view_name("/a/b/disk.qcow2"), "disk.raw");
  EXPECT_EQ(view_name("my.disk.qcow2"), "my.disk.raw");
  EXPECT_EQ(view_name("disk"), "disk.raw");
  EXPECT_EQ(view_name("disk.raw"), "disk.raw");
  EXPECT_EQ(view_name(".hidden"), ".hidden.raw");
  EXPECT_EQ(view_name("/dev/vdb"), "vdb.raw");
  EXPECT_EQ(view_name("json:{\"driver\":\"qcow2\"}"), "disk.raw");
  EXPECT_EQ(view_name(""), "disk.raw");
  EXPECT_EQ(view_name(std::string(300, 'x')).size(), 255U);
}

TEST(Mountinfo, UnescapesPathsAndLeavesOutWhatIsNoMount) {
  const auto mounts = parse_mountinfo(
      "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
      "40 22 0:39 / /mnt/a\\040b\\134c\\011 rw,nosuid shared:1 - fuse.penstock /x rw\n"
      "\n"
      "rubbish\n"
      "41 22 0:40 / /mnt/a rw - fuse.penstock /y rw");
  ASSERT_EQ(mounts.size(), 3U);
  EXPECT_EQ(mounts[1].path, "/mnt/a b\\c\t");
  EXPECT_EQ(mounts[1].id, 40U);
  EXPECT_EQ(mounts[2].path, "/mnt/a");
}

TEST(Mountinfo, TheLastMountAtAPathIsTheOneThatIsSeen) {
  const std::vector<MountEntry> mounts{{1, "/", "0:1"}, {2, "/a", "0:2"}, {3, "/a", "0:3"}};
  EXPECT_EQ(mount_at(mounts, "/a")->id, 3U);
  EXPECT_FALSE(mount_at(mounts, "/b"));
  EXPECT_EQ(find_again(mounts, {2, "/elsewhere", "0:2"})->path, "/a");
  EXPECT_FALSE(find_again(mounts, {2, "/a", "0:9"})) << "the id went to another mount";
  EXPECT_FALSE(find_again(mounts, {4, "/a", "0:3"}));
}

}  // namespace
}  // namespace penstock::fuse
