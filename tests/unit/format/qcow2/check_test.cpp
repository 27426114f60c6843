// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check.hpp"

#include "base/endian.hpp"
#include "format/qcow2/format.hpp"
#include "format/qcow2/header.hpp"
#include "format/qcow2/reference_tally.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"

#include <malloc.h>

#include <chrono>

namespace penstock::qcow2 {
namespace {

using test::must;
using Options = std::map<std::string, std::string>;

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kCopiedFlag = 1ULL << 63U;

/// Preallocated, 4 KiB clusters, 64 guest clusters: header 0, refcount table 1, block 2, L1 3, L2 4, data 5 to 68.
class Qcow2Check : public testing::Test {
 protected:
  void make(Options options = {{"cluster_size", "4k"}, {"preallocation", "metadata"}}) {
    CreateRequest request;
    request.size = 64 * kCluster;
    request.options = std::move(options);
    must(must(kFormat.plan_create(request))->write(image_, nullptr));
  }
  void put(std::uint64_t at, std::uint64_t value) { must(write_header_field(*image_, {at}, value)); }
  [[nodiscard]] std::uint64_t get(std::uint64_t at) {
    std::vector<std::byte> bytes(8);
    must(image_->read({at}, bytes));
    return load_be<std::uint64_t>(std::span<const std::byte>(bytes), 0);
  }
  void put_count(std::uint64_t cluster, std::uint16_t count) {
    std::vector<std::byte> bytes(2);
    store_be(std::span<std::byte>(bytes), 0, count);
    must(image_->write({2 * kCluster + cluster * 2}, bytes));
  }
  void put_entry(std::uint64_t index, std::uint64_t value) { put(4 * kCluster + index * 8, value); }
  [[nodiscard]] std::uint64_t entry(std::uint64_t index) { return get(4 * kCluster + index * 8); }
  CheckReport check(Repair repair = Repair::none) {
    lines_.clear();
    CheckOptions options;
    options.repair = repair;
    options.log = [this](std::string_view line) { lines_.emplace_back(line); };
    return must(qcow2::check(image_, {}, options));
  }
  [[nodiscard]] bool said(std::string_view text) const {
    return std::ranges::any_of(lines_, [text](const std::string& line) { return line.starts_with(text); });
  }
  void expect_clean() {
    const CheckReport report = check();
    EXPECT_EQ(report.corruptions, 0U);
    EXPECT_EQ(report.leaks, 0U);
    EXPECT_EQ(report.check_errors, 0U);
  }

  std::shared_ptr<MemoryStorage> image_ = std::make_shared<MemoryStorage>("image");
  std::vector<std::string> lines_;
};

TEST_F(Qcow2Check, NewImageIsCleanAndCounted) {
  make();
  expect_clean();
  const CheckReport report = check();
  EXPECT_EQ(report.total_clusters, 64U);
  EXPECT_EQ(report.allocated_clusters, 64U);
  EXPECT_EQ(report.fragmented_clusters, 0U);
  EXPECT_EQ(report.image_end_offset, 69 * kCluster);
}

TEST_F(Qcow2Check, LeakIsReportedAndLoweredByEitherRepair) {
  for (const Repair repair : {Repair::leaks, Repair::all}) {
    make();
    put_entry(3, 0);
    CheckReport report = check();
    EXPECT_EQ(report.leaks, 1U);
    EXPECT_EQ(report.corruptions, 0U);
    EXPECT_TRUE(said("Leaked cluster 8 refcount=1 reference=0"));
    report = check(repair);
    EXPECT_EQ(report.leaks_fixed, 1U);
    EXPECT_EQ(report.leaks, 0U);
    EXPECT_TRUE(said("Repairing cluster 8 refcount=1 reference=0"));
    expect_clean();
  }
}

TEST_F(Qcow2Check, SharedClusterIsCountedUpAndLosesItsCopiedFlags) {
  make();
  put_entry(3, entry(4));
  CheckReport report = check();
  EXPECT_EQ(report.corruptions, 1U);
  EXPECT_EQ(report.leaks, 1U);
  EXPECT_TRUE(said("ERROR cluster 9 refcount=1 reference=2"));
  report = check(Repair::leaks);
  EXPECT_EQ(report.leaks_fixed, 1U);
  EXPECT_EQ(report.corruptions, 1U);
  report = check(Repair::all);
  EXPECT_EQ(report.corruptions, 0U);
  EXPECT_EQ(entry(3) & kCopiedFlag, 0U);
  EXPECT_EQ(entry(4) & kCopiedFlag, 0U);
  expect_clean();
}

TEST_F(Qcow2Check, UsedClusterCountedFreeNeedsMoreThanLeakRepair) {
  make();
  put_count(9, 0);
  EXPECT_EQ(check().corruptions, 2U);  // and its COPIED flag
  EXPECT_TRUE(said("ERROR cluster 9 refcount=0 reference=1"));
  EXPECT_EQ(check(Repair::leaks).check_errors, 1U);
  EXPECT_TRUE(said("ERROR need to rebuild refcount structures"));
  EXPECT_EQ(check(Repair::all).corruptions, 0U);
  expect_clean();
}

TEST_F(Qcow2Check, LostRefcountStructuresAreRebuiltInFreeSpace) {
  const std::pair<std::uint64_t, std::uint64_t> damages[] = {
      {kCluster, 0},                 // no block
      {kCluster, 2 * kCluster + 1},  // reserved bits
      {kCluster, 2 * kCluster + 512},
      {kCluster, 9 * kCluster},  // a block over guest data
      {kCluster, 4 * kCluster},  // over an L2 table
      {kCluster, 1ULL << 60U},
      {kCluster + 8, 2 * kCluster},  // named twice
      {48, 1ULL << 40U},             // table behind the end
  };
  for (const auto& [at, value] : damages) {
    make();
    std::vector<std::byte> data(kCluster, std::byte{0x5a});
    must(image_->write({9 * kCluster}, data));
    const std::uint64_t l2 = entry(4);
    put(at, value);
    EXPECT_NE(check().corruptions, 0U) << at << ' ' << value;
    const CheckReport report = check(Repair::all);
    EXPECT_EQ(report.corruptions + report.check_errors, 0U) << at << ' ' << value;
    EXPECT_TRUE(said("Rebuilding refcount structure")) << at << ' ' << value;
    expect_clean();
    EXPECT_EQ(entry(4), l2);
    std::vector<std::byte> after(kCluster);
    must(image_->read({9 * kCluster}, after));
    EXPECT_EQ(after, data);
    EXPECT_OK(kFormat.open(image_, {.writable = true}));
  }
}

TEST_F(Qcow2Check, TableOfNoClustersIsRebuilt) {
  make();
  std::vector<std::byte> none(4);
  must(image_->write({56}, none));
  EXPECT_ERRNO(kFormat.open(image_, {.writable = true}), EINVAL);
  EXPECT_EQ(check(Repair::all).corruptions, 0U);
  expect_clean();
}

TEST_F(Qcow2Check, MisalignedPreallocatedZeroBecomesPlainZero) {
  make();
  put_entry(3, (8 * kCluster + 512) | 1 | kCopiedFlag);
  EXPECT_NE(check().corruptions, 0U);
  EXPECT_TRUE(said("ERROR offset=8200: Preallocated cluster is not properly aligned; L2 entry corrupted."));
  const CheckReport report = check(Repair::all);
  EXPECT_EQ(report.corruptions, 0U);
  EXPECT_EQ(entry(3), 1U);
  expect_clean();
}

TEST_F(Qcow2Check, WhatCannotBeKnownIsLeftAlone) {
  const std::uint64_t entries[] = {
      (8 * kCluster + 512) | kCopiedFlag,  // misaligned data
      1000 * kCluster | kCopiedFlag,       // behind the end
      8 * kCluster | kCopiedFlag | 2,      // reserved bit
      1ULL << 62U | 1ULL << 63U | 8 * kCluster,
  };
  for (const std::uint64_t value : entries) {
    make();
    put_entry(3, value);
    EXPECT_NE(check().corruptions, 0U) << std::hex << value;
    check(Repair::all);
    EXPECT_EQ(entry(3) & ~kCopiedFlag, value & ~kCopiedFlag) << std::hex << value;
    EXPECT_NE(check().corruptions, 0U) << std::hex << value;
  }
}

TEST_F(Qcow2Check, L1EntryThatLeadsNowhereIsLeftAlone) {
  for (const std::uint64_t value :
       {4 * kCluster + 512, 1000 * kCluster, 4 * kCluster | 1, 4 * kCluster | std::uint64_t{1} << 56U}) {
    make();
    put(3 * kCluster, value | kCopiedFlag);
    EXPECT_NE(check().corruptions, 0U) << std::hex << value;
    check(Repair::all);
    EXPECT_EQ(get(3 * kCluster) & ~kCopiedFlag, value) << std::hex << value;
    EXPECT_NE(check().corruptions, 0U) << std::hex << value;
  }
}

TEST_F(Qcow2Check, CountTooHighIsLoweredByEitherRepairAndFlagsFollow) {
  for (const Repair repair : {Repair::leaks, Repair::all}) {
    make();
    put_count(9, 3);
    EXPECT_EQ(check().leaks, 1U);
    EXPECT_EQ(check(repair).leaks_fixed, 1U);
    EXPECT_EQ(entry(4) & kCopiedFlag, kCopiedFlag);
    expect_clean();
  }
}

TEST_F(Qcow2Check, CopiedFlagsAreMendedByTheRepairOfLeaksOnlyWhenNothingElseIsWrong) {
  make();
  put_entry(4, entry(4) & ~kCopiedFlag);
  put(3 * kCluster, get(3 * kCluster) & ~kCopiedFlag);
  EXPECT_EQ(check().corruptions, 2U);
  EXPECT_EQ(check(Repair::leaks).corruptions_fixed, 2U);
  expect_clean();
  put_entry(4, entry(4) & ~kCopiedFlag);
  put_entry(3, 8 * kCluster | kCopiedFlag | 2);  // cannot be mended
  check(Repair::leaks);
  EXPECT_EQ(entry(4) & kCopiedFlag, 0U);
  check(Repair::all);
  EXPECT_EQ(entry(4) & kCopiedFlag, kCopiedFlag);
}

TEST_F(Qcow2Check, SubclustersThatAreDataAndZeroAtOnceAreLeftAlone) {
  CreateRequest request;
  request.size = 1U << 20U;
  request.options = {{"cluster_size", "16k"}, {"extended_l2", "on"}, {"preallocation", "metadata"}};
  must(must(kFormat.plan_create(request))->write(image_, nullptr));
  const std::uint64_t l2 = get(get(40)) & ~kCopiedFlag;
  const std::uint64_t descriptor = get(l2 + 16);
  put(l2 + 24, 1ULL << 32U | 1);
  EXPECT_EQ(check().corruptions, 1U);
  EXPECT_EQ(check(Repair::all).corruptions, 1U);
  EXPECT_EQ(get(l2 + 16), descriptor);
  EXPECT_EQ(get(l2 + 24), 1ULL << 32U | 1);
}

TEST_F(Qcow2Check, EntryLeadingToMetadataLeavesItItsReference) {
  for (const std::uint64_t target : {0U, 1U, 2U, 3U, 4U}) {
    make();
    put_entry(3, target * kCluster | (target == 0 ? 512 : 0) | kCopiedFlag);
    EXPECT_NE(check().corruptions, 0U) << target;
    check(Repair::all);
    // The refcounts may have moved, when it is their block that the guest would see.
    const std::uint64_t block = get(get(48));
    std::vector<std::byte> count(2);
    must(image_->read({block + target * 2}, count));
    EXPECT_GE(load_be<std::uint16_t>(std::span<const std::byte>(count), 0), 1U) << target;
    EXPECT_EQ(check().leaks, 0U) << target;
  }
}

TEST_F(Qcow2Check, TableOverGuestDataIsNeverWrittenTo) {
  make();
  // Guest cluster 4 is the L2 table itself: any change of an entry would change what the guest reads.
  put_entry(4, 4 * kCluster | kCopiedFlag);
  put_entry(5, entry(5) & ~kCopiedFlag);
  std::vector<std::byte> before(kCluster);
  must(image_->read({4 * kCluster}, before));
  check(Repair::all);
  std::vector<std::byte> after(kCluster);
  must(image_->read({4 * kCluster}, after));
  EXPECT_EQ(before, after);
}

TEST_F(Qcow2Check, DirtyAndCorruptBitsGoWhenNothingIsLeft) {
  make();
  put(72, kDirty | kCorrupt);
  check();
  EXPECT_EQ(get(72), kDirty | kCorrupt);
  check(Repair::all);
  EXPECT_EQ(get(72), 0U);
  put(72, kDirty | kCorrupt);
  put_entry(3, 8 * kCluster | kCopiedFlag | 2);
  check(Repair::all);
  EXPECT_EQ(get(72), kDirty | kCorrupt);
}

TEST_F(Qcow2Check, DirtyImageIsRepairedWhenOpenedForWritingOnly) {
  make({{"cluster_size", "4k"}, {"preallocation", "metadata"}, {"lazy_refcounts", "on"}});
  put(72, kDirty);
  put_count(9, 0);
  put_count(70, 3);
  EXPECT_OK(kFormat.open(image_, {}));
  EXPECT_EQ(get(72), kDirty);
  {
    auto driver = must(kFormat.open(image_, {.writable = true}));
    EXPECT_OK(driver->close());
  }
  EXPECT_EQ(get(72), 0U);
  expect_clean();
}

TEST_F(Qcow2Check, UnknownAutoclearBitsGoBeforeTheFirstRepair) {
  make();
  put(88, 0xff00);
  check();
  EXPECT_EQ(get(88), 0xff00U);
  put_entry(3, 0);
  check(Repair::leaks);
  EXPECT_EQ(get(88), 0U);
}

TEST_F(Qcow2Check, FindsWhatQemuOverlooks) {
  make();
  put_entry(3, kCopiedFlag);
  EXPECT_EQ(check().corruptions, 1U);
  make({{"cluster_size", "4k"}, {"preallocation", "metadata"}, {"compat", "0.10"}});
  put_entry(3, entry(3) | 1);
  EXPECT_EQ(check().corruptions, 1U);
}

TEST_F(Qcow2Check, DamagedSnapshotTableDoesNotKeepTheDiskFromBeingRead) {
  make();
  put(60, 3ULL << 32U);      // three snapshots
  put(64, 1000 * kCluster);  // behind the end
  EXPECT_EQ(check().check_errors, 1U);
  EXPECT_OK(kFormat.open(image_, {}));
  EXPECT_ERRNO(kFormat.open(image_, {.writable = true}), EUCLEAN);
}

TEST_F(Qcow2Check, TableNamedTwiceIsNotGivenBackTwice) {
  CreateRequest request;
  request.size = 8U << 20U;
  request.options = {{"cluster_size", "4k"}};
  must(must(kFormat.plan_create(request))->write(image_, nullptr));
  must(image_->truncate(6 * kCluster));
  put_entry(0, 5 * kCluster | kCopiedFlag);
  for (const std::uint64_t index : {0U, 1U}) put(3 * kCluster + index * 8, 4 * kCluster | kCopiedFlag);
  for (const std::uint64_t cluster : {4U, 5U}) put_count(cluster, 1);
  auto driver = must(kFormat.open(image_, {.writable = true}));
  EXPECT_ERRNO(driver->resize(0, 0), EUCLEAN);
  driver.reset();
  EXPECT_FALSE(check().leaks != 0 || said("ERROR cluster 4 refcount=0"));
}

TEST_F(Qcow2Check, ReadOnlyImageIsNotRepaired) {
  make();
  CheckOptions options;
  options.repair = Repair::all;
  class ReadOnly final : public Storage {
   public:
    explicit ReadOnly(Storage& below) : below_(below) {}
    [[nodiscard]] const std::string& name() const noexcept override { return below_.name(); }
    [[nodiscard]] bool writable() const noexcept override { return false; }
    [[nodiscard]] const StorageFacts& facts() const noexcept override { return below_.facts(); }
    [[nodiscard]] Result<> read(HostOffset offset, std::span<std::byte> out) override {
      return below_.read(offset, out);
    }
    [[nodiscard]] Result<> write(HostOffset, std::span<const std::byte>) override { return fail(EBADF, "read-only"); }
    [[nodiscard]] Result<> write_zeroes(HostRange, Zeroing) override { return fail(EBADF, "read-only"); }
    [[nodiscard]] Result<> discard(HostRange) override { return fail(EBADF, "read-only"); }
    [[nodiscard]] Result<> allocate(HostRange) override { return fail(EBADF, "read-only"); }
    [[nodiscard]] Result<> flush() override { return {}; }
    [[nodiscard]] Result<std::uint64_t> size() override { return below_.size(); }
    [[nodiscard]] Result<> truncate(std::uint64_t) override { return fail(EBADF, "read-only"); }
    [[nodiscard]] Result<HostExtent> extent(HostOffset offset) override { return below_.extent(offset); }
    [[nodiscard]] Result<std::uint64_t> allocated_bytes() override { return below_.allocated_bytes(); }

   private:
    Storage& below_;
  };
  EXPECT_ERRNO(qcow2::check(std::make_shared<ReadOnly>(*image_), {}, options), EBADF);
}

/// Huge claims in a small file.
TEST_F(Qcow2Check, ClaimsCostNeitherTimeNorMemory) {
  struct Claim {
    const char* what;
    std::uint64_t file_size;
    std::uint64_t l1_entry_step;  // distance of the L2 tables that the L1 names; 0: all the same
  };
  // 2 MiB clusters, 2 EiB, an L1 table of 4 Mi entries of which 8192 are there.
  for (const Claim& claim : {Claim{"short file", 64U << 20U, 0}, Claim{"scattered", 1ULL << 55U, 1ULL << 40U},
                             Claim{"one table", 1ULL << 55U, 0}, Claim{"misaligned", 1ULL << 55U, 512}}) {
    image_ = std::make_shared<MemoryStorage>("image");
    CreateRequest request;
    request.size = 1ULL << 60U;
    request.options = {{"cluster_size", "2M"}, {"refcount_bits", "1"}};
    must(must(kFormat.plan_create(request))->write(image_, nullptr));
    must(image_->truncate(claim.file_size));
    for (std::uint64_t i = 0; i < 8192; ++i) {
      put((6U << 20U) + i * 8, ((8ULL << 20U) + i * claim.l1_entry_step) | kCopiedFlag);
    }
    put(8U << 20U, 10ULL << 20U | kCopiedFlag);
    for (std::uint64_t i = 0; i < 8192; ++i) put((2U << 20U) + i * 8, 4U << 20U);  // one block, named often
    const auto start = std::chrono::steady_clock::now();
    const auto before = mallinfo2().uordblks + mallinfo2().hblkhd;
    std::size_t peak = 0;
    CheckOptions options;
    options.log = [&](std::string_view) { peak = std::max(peak, mallinfo2().uordblks + mallinfo2().hblkhd); };
    const auto report = qcow2::check(image_, {}, options);
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_LT(seconds, 20) << claim.what;
    EXPECT_LT(peak - std::min<std::size_t>(peak, before), 32U << 20U) << claim.what;
  }
}

TEST(ReferenceTally, CountsFarApartAndManyTimes) {
  ReferenceTally tally;
  tally.add(5);
  tally.add(1ULL << 47U, 300);
  tally.add((1ULL << 47U) + 1, 254);
  tally.add((1ULL << 47U) + 1);
  EXPECT_EQ(tally.get(5), 1U);
  EXPECT_EQ(tally.get(6), 0U);
  EXPECT_EQ(tally.get(1ULL << 47U), 300U);
  EXPECT_EQ(tally.get((1ULL << 47U) + 1), 255U);
  tally.subtract(1ULL << 47U, 299);
  EXPECT_EQ(tally.get(1ULL << 47U), 1U);
  tally.subtract(5);
  tally.seal();
  EXPECT_EQ(tally.next(0, tally.end()), 1ULL << 47U);
  EXPECT_EQ(tally.next(0, 100), 100U);
  EXPECT_EQ(tally.end(), (1ULL << 47U) + 2);
}

}  // namespace
}  // namespace penstock::qcow2
