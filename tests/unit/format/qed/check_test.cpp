// SPDX-License-Identifier: Apache-2.0
#include "format/qed/check.hpp"

#include "base/endian.hpp"
#include "format/qed/format.hpp"
#include "format/qed/header.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"

#include <algorithm>
#include <array>
#include <chrono>

namespace penstock::qed {
namespace {

using test::must;

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kL1 = kCluster;
constexpr std::uint64_t kL2 = 3 * kCluster;
constexpr std::uint64_t kData = 5 * kCluster;
constexpr std::uint64_t kFeatures = 16;

/// Clusters of 4 KiB, tables of two: header 0, L1 1 and 2, one L2 table 3 and 4, data of the first four guest clusters
/// 5 to 8; the fifth is a zero cluster.
class QedCheck : public testing::Test {
 protected:
  void SetUp() override {
    CreateRequest request;
    request.size = 64U << 20U;
    request.options = {{"cluster_size", "4k"}, {"table_size", "2"}};
    must(must(kFormat.plan_create(request))->write(image_, nullptr));
    must(image_->truncate(9 * kCluster));
    put(kL1, kL2);
    for (std::uint64_t i = 0; i < 4; ++i) {
      put(kL2 + i * 8, kData + i * kCluster);
      must(image_->write({kData + i * kCluster}, std::vector<std::byte>(kCluster, data_byte(i))));
    }
    put(kL2 + 4 * 8, 1);
  }
  static std::byte data_byte(std::uint64_t cluster) { return static_cast<std::byte>(0xa0 + cluster); }
  void put(std::uint64_t at, std::uint64_t value) {
    std::array<std::byte, 8> bytes{};
    store_le(std::span<std::byte>(bytes), 0, value);
    must(image_->write({at}, bytes));
  }
  [[nodiscard]] std::uint64_t get(std::uint64_t at) {
    std::array<std::byte, 8> bytes{};
    must(image_->read({at}, bytes));
    return load_le<std::uint64_t>(std::span<const std::byte>(bytes), 0);
  }
  CheckReport check(Repair repair = Repair::none) {
    lines_.clear();
    CheckOptions options;
    options.repair = repair;
    options.log = [this](std::string_view line) { lines_.emplace_back(line); };
    return must(qed::check(image_, {}, options));
  }
  void expect_clean() {
    const CheckReport report = check();
    EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0U);
    EXPECT_TRUE(lines_.empty());
  }
  /// Guest cluster `index` still has the bytes that were its own.
  void expect_data(std::uint64_t index) {
    ASSERT_EQ(get(kL2 + index * 8), kData + index * kCluster);
    std::vector<std::byte> bytes(kCluster);
    must(image_->read({kData + index * kCluster}, bytes));
    EXPECT_EQ(bytes, std::vector<std::byte>(kCluster, data_byte(index)));
  }
  [[nodiscard]] std::vector<std::byte> whole() {
    std::vector<std::byte> bytes(must(image_->size()));
    must(image_->read({0}, bytes));
    return bytes;
  }

  std::shared_ptr<MemoryStorage> image_ = std::make_shared<MemoryStorage>("image");
  std::vector<std::string> lines_;
};

TEST_F(QedCheck, SoundImageIsCountedAndNotTouched) {
  const auto before = whole();
  const CheckReport report = check(Repair::all);
  EXPECT_EQ(report.total_clusters, 16384U);
  EXPECT_EQ(report.allocated_clusters, 4U);
  EXPECT_EQ(report.fragmented_clusters, 0U);
  EXPECT_EQ(report.corruptions_fixed + report.leaks_fixed, 0U);
  EXPECT_EQ(whole(), before);
  expect_clean();
}

TEST_F(QedCheck, FragmentsAreCountedWithinATableAsQemuDoes) {
  must(image_->truncate(13 * kCluster));
  put(kL1 + 8, 9 * kCluster);  // a second table, whose data lies behind it
  put(9 * kCluster, 11 * kCluster);
  EXPECT_EQ(check().fragmented_clusters, 0U);
  put(kL2 + 7 * 8, 12 * kCluster);
  EXPECT_EQ(check().fragmented_clusters, 1U);
}

TEST_F(QedCheck, L1EntryThatLeadsToNoTableIsCleared) {
  for (const std::uint64_t entry :
       std::vector<std::uint64_t>{1, kL2 + 512, 9 * kCluster, 8 * kCluster, 1ULL << 63U, ~0ULL}) {
    put(kL1 + 8, entry);
    EXPECT_EQ(check().corruptions, 1U) << entry;
    EXPECT_EQ(get(kL1 + 8), entry);
    const CheckReport report = check(Repair::all);
    EXPECT_EQ(report.corruptions, 0U) << entry;
    EXPECT_EQ(report.corruptions_fixed, 1U) << entry;
    EXPECT_EQ(get(kL1 + 8), 0U) << entry;
    expect_data(0);
    expect_clean();
  }
}

TEST_F(QedCheck, L2EntryThatLeadsToNoClusterIsCleared) {
  for (const std::uint64_t entry : std::vector<std::uint64_t>{2, kData + 512, 9 * kCluster, 1ULL << 63U, ~0ULL}) {
    put(kL2 + 7 * 8, entry);
    EXPECT_EQ(check().corruptions, 1U) << entry;
    EXPECT_EQ(check(Repair::leaks).corruptions, 1U) << entry;
    EXPECT_EQ(get(kL2 + 7 * 8), entry);
    EXPECT_EQ(check(Repair::all).corruptions_fixed, 1U) << entry;
    EXPECT_EQ(get(kL2 + 7 * 8), 0U) << entry;
    for (std::uint64_t i = 0; i < 4; ++i) expect_data(i);
    EXPECT_EQ(get(kL2 + 4 * 8), 1U);
    expect_clean();
  }
}

TEST_F(QedCheck, EntryIntoTheHeaderIsCleared) {
  // header_size 1: cluster 0 is no place for data, although an entry of 0 means unallocated.
  must(image_->write({2 * kCluster}, std::vector<std::byte>(7 * kCluster)));
  put(12, std::uint64_t{2});  // header of two clusters, features none
  put(kFeatures, 0);
  put(40, 2 * kCluster);  // the L1 table lies behind it now
  put(2 * kCluster, 4 * kCluster);
  put(4 * kCluster, kCluster);
  EXPECT_EQ(check().corruptions, 1U);
  EXPECT_EQ(check(Repair::all).corruptions_fixed, 1U);
  EXPECT_EQ(get(4 * kCluster), 0U);
}

TEST_F(QedCheck, ClusterNamedTwiceIsLeftAlone) {
  put(kL2 + 7 * 8, kData + kCluster);
  const auto before = whole();
  for (const Repair repair : {Repair::none, Repair::leaks, Repair::all}) {
    const CheckReport report = check(repair);
    EXPECT_EQ(report.corruptions, 1U);
    EXPECT_EQ(report.corruptions_fixed, 0U);
    EXPECT_EQ(whole(), before);
  }
}

TEST_F(QedCheck, DataOverATableIsLeftAlone) {
  for (const std::uint64_t target : {kL1, kL1 + kCluster, kL2, kL2 + kCluster}) {
    put(kL2 + 7 * 8, target);
    const auto before = whole();
    EXPECT_EQ(check(Repair::all).corruptions, 1U) << target;
    EXPECT_EQ(whole(), before) << target;
  }
}

TEST_F(QedCheck, TableNamedTwiceIsLeftAlone) {
  for (const std::uint64_t table : {kL2, kL2 - kCluster, kL2 + kCluster, kL1}) {
    put(kL1 + 8, table);
    const auto before = whole();
    const CheckReport report = check(Repair::all);
    EXPECT_GE(report.corruptions, 1U) << table;
    EXPECT_EQ(get(kL1 + 8), table);
    EXPECT_EQ(whole(), before) << table;
  }
}

TEST_F(QedCheck, LeakAtTheEndIsCutOffAndOneInsideStays) {
  put(kL2 + 8, 0);
  must(image_->truncate(12 * kCluster));
  EXPECT_EQ(check().leaks, 4U);
  const CheckReport report = check(Repair::leaks);
  EXPECT_EQ(report.leaks_fixed, 3U);
  EXPECT_EQ(report.leaks, 1U);
  EXPECT_EQ(must(image_->size()), 9 * kCluster);
  for (const std::uint64_t i : {0U, 2U, 3U}) expect_data(i);
}

TEST_F(QedCheck, NothingIsCutOffWhileDamageIsLeft) {
  put(kL2 + 7 * 8, kData + kCluster);  // named twice
  must(image_->truncate(12 * kCluster));
  EXPECT_EQ(check(Repair::all).leaks, 3U);
  EXPECT_EQ(must(image_->size()), 12 * kCluster);
}

TEST_F(QedCheck, NeedCheckGoesOnlyWhenNothingIsLeft) {
  put(kFeatures, kNeedCheck);
  check();
  EXPECT_EQ(get(kFeatures), kNeedCheck);
  put(kL2 + 7 * 8, 100 * kCluster);
  check(Repair::all);
  EXPECT_EQ(get(kFeatures), 0U);
  put(kFeatures, kNeedCheck);
  put(kL2 + 7 * 8, kData);
  check(Repair::all);
  EXPECT_EQ(get(kFeatures), kNeedCheck);
  // Whose cluster it is nobody knows: nothing may be written to it, but it can be read.
  EXPECT_ERRNO(kFormat.open(image_, {.writable = true}), EUCLEAN);
  EXPECT_OK(kFormat.open(image_, {}));
}

TEST_F(QedCheck, UnusedClustersOfAHugeFileAreFoundAtOnce) {
  put(kFeatures, kNeedCheck);
  must(image_->truncate(1ULL << 60U));
  put(kL2 + 7 * 8, (1ULL << 60U) - kCluster);
  put(kL2 + 8, 0);
  const auto start = std::chrono::steady_clock::now();
  const auto unused = must(repair_after_crash(image_));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  ASSERT_EQ(unused.size(), 2U);
  EXPECT_EQ(unused[0], (HostRange{{kData + kCluster}, kCluster}));
  EXPECT_EQ(unused[1], (HostRange{{9 * kCluster}, (1ULL << 60U) - 10 * kCluster}));
}

TEST_F(QedCheck, TruncatedFileKeepsWhatItHas) {
  must(image_->truncate(7 * kCluster + 100));
  EXPECT_EQ(check().corruptions, 2U);
  EXPECT_EQ(check(Repair::all).corruptions_fixed, 2U);
  expect_data(0);
  expect_data(1);
  EXPECT_EQ(get(kL2 + 16), 0U);
  expect_clean();
}

}  // namespace
}  // namespace penstock::qed
