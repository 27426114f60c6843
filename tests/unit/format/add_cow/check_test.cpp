// SPDX-License-Identifier: Apache-2.0
#include "base/endian.hpp"
#include "format/add_cow/format.hpp"
#include "format/add_cow/header.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/recording_storage.hpp"

#include <algorithm>
#include <array>

namespace penstock::add_cow {
namespace {

using test::must;

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kClusters = 21;
constexpr std::uint64_t kSize = kClusters * kCluster - 1000;
constexpr std::uint64_t kBitmap = 4096;

/// 21 clusters, the last one short; of them 0, 9 and 20 are in the raw file.
class AddCowCheck : public testing::Test {
 protected:
  void SetUp() override { make(true); }
  void make(bool backing) {
    image_ = std::make_shared<MemoryStorage>("image");
    data_ = std::make_shared<MemoryStorage>("data");
    CreateRequest request;
    request.size = kSize;
    request.options = {{"cluster_size", "4k"}, {"image_file", "data"}};
    if (backing) request.backing = {"base", "raw"};
    must(must(kFormat.plan_create(request))->write(image_, data_));
    if (!backing) return;
    for (const std::uint64_t cluster : {0U, 9U, 20U}) {
      must(data_->write({cluster * kCluster}, std::vector<std::byte>(100, std::byte{0x77})));
    }
    put(kBitmap, {0x01, 0x02, 0x10});
  }
  void put(std::uint64_t at, const std::vector<unsigned>& values) {
    for (const unsigned value : values) {
      const std::array<std::byte, 1> byte{static_cast<std::byte>(value)};
      must(image_->write({at++}, byte));
    }
  }
  [[nodiscard]] std::vector<std::byte> bytes_of(Storage& storage) {
    std::vector<std::byte> bytes(must(storage.size()));
    must(storage.read({0}, bytes));
    return bytes;
  }
  [[nodiscard]] FormatOpenOptions options() const {
    FormatOpenOptions open{.writable = true};
    open.open_file = [this](std::string_view, bool) -> Result<std::shared_ptr<Storage>> {
      if (data_ == nullptr) return fail(ENOENT, "no such file");
      return data_;
    };
    return open;
  }
  CheckReport check(Repair repair = Repair::none) {
    const auto before = bytes_of(*data_);
    CheckOptions check_options;
    check_options.repair = repair;
    const CheckReport report = must(add_cow::check(image_, options(), check_options));
    EXPECT_EQ(bytes_of(*data_), before);
    return report;
  }
  void expect_clean() {
    const CheckReport report = check();
    EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0U);
  }
  /// What the bitmap says of the disk's clusters.
  [[nodiscard]] std::vector<std::uint64_t> present() {
    const auto driver = must(kFormat.open(image_, options()));
    std::vector<std::uint64_t> found;
    for (std::uint64_t cluster = 0; cluster < kClusters; ++cluster) {
      if (must(driver->map({{cluster * kCluster}, 1})).kind == MappingKind::data) found.push_back(cluster);
    }
    return found;
  }

  const std::vector<std::uint64_t> present_{0, 9, 20};
  std::shared_ptr<MemoryStorage> image_;
  std::shared_ptr<MemoryStorage> data_;
};

TEST_F(AddCowCheck, SoundImageIsCountedAndNotTouched) {
  const auto before = bytes_of(*image_);
  const CheckReport report = check(Repair::all);
  EXPECT_EQ(report.total_clusters, kClusters);
  EXPECT_EQ(report.allocated_clusters, 3U);
  EXPECT_EQ(report.corruptions_fixed + report.leaks_fixed, 0U);
  EXPECT_EQ(bytes_of(*image_), before);
  EXPECT_EQ(present(), present_);
}

TEST_F(AddCowCheck, BitsBehindTheEndAreCleared) {
  for (const Repair repair : {Repair::leaks, Repair::all}) {
    make(true);
    const auto sound = bytes_of(*image_);
    put(kBitmap + 2, {0xf0, 0x01});
    put(kBitmap + 4095, {0x80});
    EXPECT_EQ(check().leaks, 1U);
    EXPECT_EQ(check(repair).leaks_fixed, 1U);
    EXPECT_EQ(bytes_of(*image_), sound);
    expect_clean();
  }
}

TEST_F(AddCowCheck, StrayBytesOfTheHeaderAreClearedWhereTheyAre) {
  // Names in another order and with bytes between them, as another creator may have put them.
  std::vector<std::byte> header(kBitmap);
  must(image_->read({0}, header));
  const std::span<std::byte> out(header);
  std::ranges::fill(out.subspan(kFixedBytes), std::byte{0});
  const auto name = [&](std::size_t field, std::uint32_t at, std::string_view text) {
    store_le(out, field, at);
    store_le(out, field + 4, static_cast<std::uint32_t>(text.size()));
    std::ranges::copy(std::as_bytes(std::span(text)), out.begin() + at);
  };
  name(kImageNameField, 100, "data");
  name(kBackingNameField, 200, "base");
  must(image_->write({0}, header));
  const auto sound = bytes_of(*image_);
  expect_clean();
  put(76, {'x'});
  put(104, {'y', 'z'});
  put(4095, {1});
  EXPECT_EQ(check().leaks, 1U);
  EXPECT_EQ(check(Repair::leaks).leaks_fixed, 1U);
  EXPECT_EQ(bytes_of(*image_), sound);
  EXPECT_EQ(must(kFormat.open(image_, options()))->backing().name, "base");
}

TEST_F(AddCowCheck, MissingPartOfTheBitmapMeansTheBackingFile) {
  must(image_->truncate(kBitmap + 2));
  EXPECT_ERRNO(kFormat.open(image_, options()), EUCLEAN);
  EXPECT_EQ(check().corruptions, 1U);
  EXPECT_EQ(check(Repair::leaks).corruptions, 1U);
  EXPECT_EQ(must(image_->size()), kBitmap + 2);
  EXPECT_EQ(check(Repair::all).corruptions_fixed, 1U);
  EXPECT_EQ(must(image_->size()), kBitmap + kCluster);
  EXPECT_EQ(present(), (std::vector<std::uint64_t>{0, 9}));
  expect_clean();
}

TEST_F(AddCowCheck, BitmapThatIsAHoleAndEndsAnywhereIsRead) {
  must(image_->write_zeroes({{kBitmap}, kCluster}, Zeroing::may_unmap));
  for (const std::uint64_t length : {1U, 5U, 8U, 13U}) {
    must(image_->truncate(kBitmap + length));
    EXPECT_EQ(check().allocated_clusters, 0U) << length;
  }
}

TEST_F(AddCowCheck, CompleteImageGetsTheBitsItLacks) {
  make(false);
  expect_clean();
  put(kBitmap + 1, {0});
  EXPECT_EQ(check().corruptions, 1U);
  EXPECT_EQ(check(Repair::all).corruptions_fixed, 1U);
  std::vector<std::byte> bits(4);
  must(image_->read({kBitmap}, bits));
  EXPECT_EQ(bits, (std::vector<std::byte>{std::byte{0xff}, std::byte{0xff}, std::byte{0x1f}, std::byte{0}}));
  expect_clean();
}

TEST_F(AddCowCheck, ImageWithEveryClusterIsMarkedAsCompleteAfterItsBitsAreDurable) {
  put(kBitmap, {0xff, 0xff, 0x1f});
  expect_clean();
  EXPECT_FALSE(must(read_header(*image_)).all_allocated());
  check(Repair::leaks);
  EXPECT_FALSE(must(read_header(*image_)).all_allocated());
  test::Journal journal;
  const auto recorded = journal.add(image_);
  CheckOptions all;
  all.repair = Repair::all;
  const auto report = must(add_cow::check(recorded, options(), all));
  EXPECT_EQ(report.corruptions + report.corruptions_fixed, 0U);
  EXPECT_TRUE(must(read_header(*image_)).all_allocated());
  const auto changes = journal.changes();
  ASSERT_EQ(changes.size(), 3U);
  EXPECT_EQ(changes[0].kind, test::ChangeKind::flush);
  EXPECT_EQ(changes[1].range, (HostRange{kCompatibleField, 8}));
  EXPECT_EQ(changes[2].kind, test::ChangeKind::flush);
  expect_clean();
}

TEST_F(AddCowCheck, OneClusterMissingIsNotComplete) {
  put(kBitmap, {0xff, 0xff, 0x0f, 0x01});  // with a bit behind the end in its place
  check(Repair::all);
  EXPECT_FALSE(must(read_header(*image_)).all_allocated());
}

TEST_F(AddCowCheck, ImageFileThatIsMissingIsNotMended) {
  const auto before = bytes_of(*image_);
  data_ = nullptr;
  CheckOptions all;
  all.repair = Repair::all;
  EXPECT_ERRNO(add_cow::check(image_, options(), all), ENOENT);
  EXPECT_EQ(bytes_of(*image_), before);
}

}  // namespace
}  // namespace penstock::add_cow
