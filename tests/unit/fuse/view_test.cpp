// SPDX-License-Identifier: Apache-2.0
#include "fuse/view.hpp"
#include "image/layer.hpp"

#include "format/raw/raw_driver.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/fake_driver.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>

#include <vector>

namespace penstock::fuse {
namespace {

using test::FakeDriver;
using test::must;

constexpr std::uint64_t kSize = 10240;
constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int kZeroKeep = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

std::vector<std::byte> filled(std::size_t length, unsigned value = 0xab) {
  return std::vector<std::byte>(length, std::byte(value));
}

struct Disk {
  explicit Disk(const ViewOptions& options, bool writable = true)
      : image(make_image(std::make_unique<FakeDriver>(test::FakeOptions{.size = kSize}), "fake", writable)),
        view(must(View::make(*image, options))) {}
  std::unique_ptr<Image> image;
  std::unique_ptr<View> view;
};

TEST(View, ReadsEndAtTheEnd) {
  const Disk disk({});
  auto out = filled(100);
  EXPECT_EQ(must(disk.view->read(kSize - 30, out)), 30U);
  EXPECT_EQ(must(disk.view->read(kSize, out)), 0U);
  EXPECT_EQ(must(disk.view->read(UINT64_MAX, out)), 0U);
}

TEST(View, AFixedViewCutsWritesAtTheEndAndNeverWritesNothing) {
  const Disk disk({});
  EXPECT_EQ(must(disk.view->write(kSize - 30, filled(100))), 30U);
  EXPECT_ERRNO(disk.view->write(kSize, filled(1)), ENOSPC);
  EXPECT_ERRNO(disk.view->write(UINT64_MAX - 1, filled(100)), ENOSPC);
  EXPECT_EQ(must(disk.view->write(kSize + 5, {})), 0U);
  EXPECT_EQ(disk.view->size(), kSize);
}

TEST(View, AFixedViewDoesNotGrow) {
  const Disk disk({});
  for (const int mode : {0, FALLOC_FL_ZERO_RANGE}) {
    EXPECT_ERRNO(disk.view->allocate(mode, kSize - 1, 2), EFBIG);
    EXPECT_ERRNO(disk.view->allocate(mode, kSize, 1), EFBIG);
    EXPECT_TRUE(disk.view->allocate(mode, kSize - 1, 1));
  }
  EXPECT_ERRNO(disk.view->change({.size = kSize + 512}), EPERM);
  EXPECT_ERRNO(disk.view->change({.size = 0}), EPERM);
  EXPECT_TRUE(disk.view->change({.size = kSize}));
  EXPECT_EQ(disk.view->size(), kSize);
}

TEST(View, WhatIsRefusedCountsAsAnErrorToo) {
  int behind_end = 0;
  const Disk disk({.on_write_behind_end = [&behind_end] { ++behind_end; }});
  EXPECT_ERRNO(disk.view->write(kSize, filled(1)), ENOSPC);
  EXPECT_ERRNO(disk.view->allocate(0, 0, kSize + 1), EFBIG);
  EXPECT_EQ(behind_end, 1);
  const auto counted = disk.view->statistics().block_stats();
  EXPECT_EQ(counted["failed_wr_operations"], 1) << counted;
  EXPECT_EQ(counted["failed_unmap_operations"], 1) << counted;
}

TEST(View, PunchingAndZeroingReachTheEndAndNoFurther) {
  const Disk disk({});
  for (const int mode : {kPunch, kZeroKeep}) {
    must(disk.view->write(0, filled(kSize)));
    EXPECT_TRUE(disk.view->allocate(mode, kSize - 100, 5000));
    EXPECT_TRUE(disk.view->allocate(mode, kSize + 100, 5000));
    EXPECT_TRUE(disk.view->allocate(mode, 1000, std::uint64_t{1} << 40U));
    auto out = filled(kSize, 1);
    EXPECT_EQ(must(disk.view->read(0, out)), kSize);
    auto wanted = filled(kSize, 0);
    std::fill_n(wanted.begin(), 1000, std::byte{0xab});
    EXPECT_EQ(out, wanted);
  }
}

TEST(View, RefusesModesThatAFileSystemMayLack) {
  const Disk disk({});
  EXPECT_ERRNO(disk.view->allocate(FALLOC_FL_PUNCH_HOLE, 0, 1), EOPNOTSUPP);
  EXPECT_ERRNO(disk.view->allocate(FALLOC_FL_COLLAPSE_RANGE, 0, 4096), EOPNOTSUPP);
  EXPECT_ERRNO(disk.view->allocate(FALLOC_FL_INSERT_RANGE, 0, 4096), EOPNOTSUPP);
  EXPECT_ERRNO(disk.view->allocate(kPunch, 0, 0), EINVAL);
  EXPECT_ERRNO(disk.view->allocate(kPunch, UINT64_MAX, 2), EFBIG);
}

TEST(View, SeekNamesDataAndHolesAndEndsWithAHole) {
  const Disk disk({});
  EXPECT_ERRNO(disk.view->seek(Seek::data, 0), ENXIO);
  EXPECT_EQ(must(disk.view->seek(Seek::hole, 0)), 0U);
  must(disk.view->write(0, filled(kSize)));
  EXPECT_EQ(must(disk.view->seek(Seek::data, 17)), 17U);
  EXPECT_EQ(must(disk.view->seek(Seek::hole, 17)), kSize);
  EXPECT_ERRNO(disk.view->seek(Seek::data, kSize), ENXIO);
  EXPECT_ERRNO(disk.view->seek(Seek::hole, kSize), ENXIO);
}

TEST(View, AReadOnlyViewChangesNothing) {
  const Disk disk({}, false);
  EXPECT_ERRNO(disk.view->write(0, filled(1)), EROFS);
  EXPECT_ERRNO(disk.view->allocate(kPunch, 0, 1), EROFS);
  EXPECT_ERRNO(disk.view->change({.size = kSize}), EROFS);
  EXPECT_TRUE(disk.view->sync());
}

TEST(View, AttributesFollowChanges) {
  const Disk disk({.uid = 1, .gid = 2, .mode = 0640});
  auto attributes = must(disk.view->attributes());
  EXPECT_EQ(attributes.st_mode, S_IFREG | 0640U);
  EXPECT_EQ(attributes.st_uid, 1U);
  EXPECT_EQ(attributes.st_size, static_cast<off_t>(kSize));
  EXPECT_GE(attributes.st_blksize, 4096);
  must(disk.view->change({.mode = 04755, .uid = 5, .gid = 6, .mtime = timespec{.tv_sec = -1, .tv_nsec = 500'000'000}}));
  attributes = must(disk.view->attributes());
  EXPECT_EQ(attributes.st_mode, S_IFREG | 0755U);
  EXPECT_EQ(attributes.st_gid, 6U);
  EXPECT_EQ(attributes.st_mtim.tv_sec, -1);
  EXPECT_EQ(attributes.st_mtim.tv_nsec, 500'000'000);
  must(disk.view->write(0, filled(1)));
  EXPECT_GT(must(disk.view->attributes()).st_mtim.tv_sec, 0);
}

TEST(View, ATimeThatDoesNotFitBecomesTheNearestThatDoes) {
  const Disk disk({});
  must(disk.view->change({.atime = timespec{.tv_sec = INT64_MAX, .tv_nsec = 999'999'999},
                          .mtime = timespec{.tv_sec = INT64_MIN, .tv_nsec = 0}}));
  const auto attributes = must(disk.view->attributes());
  EXPECT_EQ(attributes.st_atim.tv_sec, INT64_MAX / 1'000'000'000);
  EXPECT_EQ(attributes.st_mtim.tv_sec, INT64_MIN / 1'000'000'000 - 1);
  EXPECT_GE(attributes.st_mtim.tv_nsec, 0);
}

TEST(View, AResizableRawViewTakesSizesToTheByte) {
  auto storage = std::make_shared<MemoryStorage>();
  must(storage->truncate(1000));
  const auto* const raw = must(find_format("raw"));
  const auto image = make_image(must(raw->open(storage, {.writable = true})), "memory", true);
  const auto view = must(View::make(*image, {.resizable = true}));
  EXPECT_EQ(must(view->write(995, filled(10))), 10U);
  EXPECT_EQ(view->size(), 1005U);
  EXPECT_TRUE(view->allocate(0, 1000, 7));
  EXPECT_EQ(view->size(), 1007U);
  EXPECT_TRUE(view->allocate(kZeroKeep, 1000, 100));
  EXPECT_EQ(view->size(), 1007U);
  EXPECT_TRUE(view->change({.size = 3}));
  EXPECT_EQ(view->size(), 3U);
  EXPECT_ERRNO(view->write(INT64_MAX, filled(1)), EFBIG);
  EXPECT_ERRNO(view->change({.size = UINT64_MAX}), EFBIG);
}

}  // namespace
}  // namespace penstock::fuse
