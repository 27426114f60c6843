// SPDX-License-Identifier: Apache-2.0
// What every format must do that images are read from, whoever made them: a format joins by a folder NAME in a golden
// directory, which holds
//   image   the image, with the files that it names beside it
//   recipe  the commands that made it, for people; where it came from, when no command makes it
//   disk    the bytes that it shows
//   map     its format's name in the first line; then a line for each extent, as `penstock map` finds them: first
//           guest byte, length, depth, and data, zero, compressed or unallocated
#include "image/layer.hpp"
#include "storage/file/file_storage.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/random.hpp"
#include "tests/support/temporary_directory.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

namespace penstock::test {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path.string() + ": cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::byte> bytes_of(const fs::path& path) {
  const auto text = contents(path);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::string_view word(ExtentKind kind) {
  switch (kind) {
    case ExtentKind::data:
      return "data";
    case ExtentKind::zero:
      return "zero";
    case ExtentKind::compressed:
      return "compressed";
    case ExtentKind::unallocated:
      break;
  }
  return "unallocated";
}

/// All golden images of all directories; PENSTOCK_GOLDEN names these, with colons between.
std::vector<fs::path> golden_images() {
  std::vector<fs::path> out;
  std::istringstream directories(PENSTOCK_GOLDEN);
  for (std::string directory; std::getline(directories, directory, ':');) {
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.is_directory()) out.push_back(entry.path());
    }
  }
  std::ranges::sort(out);
  return out;
}

class Golden : public testing::TestWithParam<fs::path> {
 protected:
  void SetUp() override {
    std::istringstream map(contents(GetParam() / "map"));
    std::getline(map, format_name_);
    std::getline(map, map_, '\0');
    format_ = must(find_format(format_name_));
    disk_ = bytes_of(GetParam() / "disk");
  }
  std::string image() const { return GetParam() / "image"; }
  std::unique_ptr<Image> open() const { return must(Image::open(image(), {})); }
  /// The image alone, over `file`; what it names beside it is found where it is.
  Result<std::unique_ptr<FormatDriver>> open_driver(std::shared_ptr<Storage> file, bool writable = false) const {
    const auto beside = [folder = GetParam()](std::string_view name, bool) {
      return open_storage((folder / name).string(), {.lock = false});
    };
    return format_->open(std::move(file), {.writable = writable, .open_file = beside});
  }
  /// What it shows, or an error; never anything else.
  void shows_nothing_else(std::shared_ptr<Storage> file, std::string_view why) const {
    auto driver = open_driver(std::move(file));
    if (!driver) return;
    if (!(*driver)->backing().name.empty()) return;  // not alone
    if ((*driver)->virtual_size() != disk_.size()) return;
    const auto image = make_image(*std::move(driver), "image", false);
    for (std::size_t at = 0; at < disk_.size(); at += 512) {
      std::vector<std::byte> out(std::min<std::size_t>(512, disk_.size() - at));
      if (!image->read({at}, out)) continue;
      ASSERT_TRUE(std::ranges::equal(out, std::span(disk_).subspan(at, out.size()))) << why << ", guest byte " << at;
    }
  }

  std::string format_name_;
  std::string map_;
  const Format* format_ = nullptr;
  std::vector<std::byte> disk_;
};

TEST_P(Golden, IsKnownByItsContentsAndShowsItsDisk) {
  const auto image = open();
  const auto layers = must(image->layers());
  EXPECT_EQ(layers.front().format, format_name_);
  ASSERT_EQ(image->virtual_size(), disk_.size());
  std::vector<std::byte> out(disk_.size());
  ASSERT_OK(image->read({0}, out));
  EXPECT_TRUE(out == disk_);
  Random random("Golden.ShowsItsDisk");
  for (int round = 0; round < 300; ++round) {
    const auto offset = random.below(disk_.size());
    std::vector<std::byte> part(random.between(1, disk_.size() - offset));
    ASSERT_OK(image->read({offset}, part));
    ASSERT_TRUE(std::ranges::equal(part, std::span(disk_).subspan(offset, part.size()))) << offset;
  }
}

TEST_P(Golden, HasItsMap) {
  const auto image = open();
  std::ostringstream found;
  for (std::uint64_t at = 0; at < disk_.size();) {
    const auto extent = must(image->extent({{at}, disk_.size() - at}));
    found << at << ' ' << extent.guest.length << ' ' << extent.depth << ' ' << word(extent.kind) << '\n';
    at += extent.guest.length;
  }
  EXPECT_EQ(found.str(), map_);
}

TEST_P(Golden, MapsThePartOfARangeAsTheWhole) {
  const auto driver = must(open_driver(must(open_storage(image(), {.lock = false}))));
  const auto files = driver->files();
  ASSERT_EQ(files.front(), &driver->storage());
  EXPECT_EQ(std::set(files.begin(), files.end()).size(), files.size()) << "each file once";
  Random random("Golden.MapsThePart");
  for (std::uint64_t at = 0; at < disk_.size();) {
    const auto whole = must(driver->map({{at}, disk_.size() - at}));
    ASSERT_GE(whole.length, 1U);
    ASSERT_LE(whole.length, disk_.size() - at);
    if (whole.kind == MappingKind::data) {
      EXPECT_NE(std::ranges::find(files, whole.storage), files.end()) << "data in a file that files() does not name";
    }
    for (int round = 0; round < 4; ++round) {
      const auto behind = random.below(whole.length);
      const auto part = must(driver->map({{at + behind}, random.between(1, whole.length - behind)}));
      ASSERT_EQ(part.kind, whole.kind) << at << " + " << behind;
      if (part.kind == MappingKind::data) {
        EXPECT_EQ(part.host_offset.value, whole.host_offset.value + behind);
        EXPECT_EQ(part.storage, whole.storage);
      }
    }
    at += whole.length;
  }
}

TEST_P(Golden, IsNotChangedByBeingRead) {
  const auto before = contents(image());
  static_cast<void>(must(describe_chain(image(), {}, true)));
  ASSERT_OK(open()->close());
  EXPECT_TRUE(contents(image()) == before);
}

TEST_P(Golden, IsTheBaseOfAnOverlayThatStreams) {
  const TemporaryDirectory directory;
  const auto top = directory.file("top.qcow2");
  must(create_image({.path = top, .format = "qcow2", .backing = {image(), format_name_}}));
  const auto overlay = must(Image::open(top, {.format = "qcow2", .writable = true}));
  ASSERT_OK(overlay->populate({{0}, overlay->virtual_size()}, nullptr));
  ASSERT_OK(overlay->drop_backing(nullptr));
  std::vector<std::byte> out(disk_.size());
  ASSERT_OK(overlay->read({0}, out));
  EXPECT_TRUE(out == disk_);
  ASSERT_OK(overlay->close());
}

TEST_P(Golden, WhatIsOnlyReadRefusesEveryChange) {
  if (!format_->read_only) GTEST_SKIP() << "its images can be written";
  const auto refused = Image::open(image(), {.format = format_name_, .writable = true});
  EXPECT_ERRNO(refused, EROFS);
  EXPECT_NE(refused.error().message().find("can only be read"), std::string::npos) << refused.error().message();
  EXPECT_EQ(format_->plan_create, nullptr);
  const auto made = create_image({.path = "never-made", .format = format_name_, .size = 1U << 20U});
  EXPECT_ERRNO(made, EOPNOTSUPP);
  EXPECT_FALSE(fs::exists("never-made"));
  const auto driver = must(open_driver(must(open_storage(image(), {.lock = false}))));
  EXPECT_ERRNO(driver->reserve({{0}, driver->geometry().allocation_unit}), EROFS);
  EXPECT_ERRNO(driver->publish({}), EROFS);
  EXPECT_ERRNO(driver->publish_zero({{0}, driver->geometry().allocation_unit}, Zeroing::keep), EROFS);
  EXPECT_ERRNO(driver->discard({{0}, driver->geometry().cluster_size}), EROFS);
  EXPECT_ERRNO(driver->resize(1U << 20U, 0), EROFS);
  EXPECT_ERRNO(driver->change_backing({}), EOPNOTSUPP);
  EXPECT_OK(driver->close());
}

TEST_P(Golden, WhatIsOnlyReadAndCutOffShowsNothingElse) {
  if (!format_->read_only) GTEST_SKIP() << "QEMU reads zero behind the end of the file of such an image";
  const auto whole = bytes_of(image());
  for (std::size_t size = 0; size < whole.size(); size += 512) {
    const auto file = std::make_shared<MemoryStorage>("image");
    ASSERT_OK(file->write({0}, std::span(whole).first(size)));
    shows_nothing_else(file, "cut off at " + std::to_string(size));
  }
}

TEST_P(Golden, OneBadByteOfTheMetadataDoesNoHarm) {
  const auto whole = bytes_of(image());
  Random random("Golden.OneBadByte");
  std::vector<std::byte> out(disk_.size());
  for (int round = 0; round < 2000; ++round) {
    const auto file = std::make_shared<MemoryStorage>("image");
    ASSERT_OK(file->write({0}, whole));
    // Headers come first in all formats, and are what lies are told in.
    const auto at =
        round % 2 == 0 ? random.below(std::min<std::size_t>(256, whole.size())) : random.below(whole.size());
    ASSERT_OK(file->write({at}, std::array{static_cast<std::byte>(random.below(256))}));
    auto driver = open_driver(file);
    if (!driver) continue;
    static_cast<void>((*driver)->info());
    const auto size = std::min<std::uint64_t>((*driver)->virtual_size(), out.size());
    const auto image = make_image(*std::move(driver), "image", false);
    static_cast<void>(image->read({0}, std::span(out).first(size)));
    static_cast<void>(image->extent({{0}, std::max<std::uint64_t>(image->virtual_size(), 1)}));
  }
}

std::string name_of(const testing::TestParamInfo<fs::path>& info) {
  std::string name = info.param.filename();
  std::ranges::replace_if(name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Images, Golden, testing::ValuesIn(golden_images()), name_of);

}  // namespace
}  // namespace penstock::test
