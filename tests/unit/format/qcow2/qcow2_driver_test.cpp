// SPDX-License-Identifier: Apache-2.0
// What is special to qcow2; what every driver must do is in tests/conformance.
#include "format/qcow2/qcow2_driver.hpp"

#include "base/endian.hpp"
#include "format/qcow2/format.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"

namespace penstock::qcow2 {
namespace {

using test::must;

constexpr std::uint64_t kSize = 64U << 20U;

class DriverTest : public testing::Test {
 protected:
  void create(std::map<std::string, std::string> options, const std::string& backing = {}) {
    CreateRequest request;
    request.size = kSize;
    request.backing = {backing, backing.empty() ? "" : "raw"};
    request.backing_size = backing.empty() ? 0 : kSize;
    request.options = std::move(options);
    storage_ = std::make_shared<MemoryStorage>();
    must(must(kFormat.plan_create(request))->write(storage_, nullptr));
  }
  void open(bool writable = true) {
    driver_.reset();
    driver_ = must(kFormat.open(storage_, {.writable = writable}));
    cluster_ = driver_->geometry().cluster_size;
  }
  [[nodiscard]] std::uint64_t field(HostOffset at) const {
    std::vector<std::byte> bytes(8);
    must(storage_->read(at, bytes));
    return load_be<std::uint64_t>(std::span<const std::byte>(bytes), 0);
  }
  /// Fills clusters from `guest` on with `value`; answers the host offset of the first.
  HostOffset fill(std::uint64_t guest, std::uint64_t length, std::byte value) {
    HostOffset first;
    for (std::uint64_t done = 0; done < length;) {
      auto room = must(driver_->reserve({{guest + done}, length - done}));
      const auto& run = room.runs().front();
      if (done == 0) first = run.host_offset;
      const std::vector<std::byte> data(run.guest.length, value);
      must(run.storage->write(run.host_offset, data));
      done += run.guest.length;
      must(driver_->publish(std::move(room)));
    }
    return first;
  }
  [[nodiscard]] MappingKind kind(std::uint64_t guest) { return must(driver_->map({{guest}, 1})).kind; }
  [[nodiscard]] CheckReport check() {
    driver_.reset();
    return must(kFormat.check(storage_, {}, {}));
  }
  void expect_clean() {
    must(driver_->close());
    const CheckReport report = check();
    EXPECT_EQ(report.corruptions, 0U);
    EXPECT_EQ(report.leaks, 0U);
  }
  /// The host offset of the L2 table that maps guest offset 0, from the disk.
  [[nodiscard]] HostOffset l2_table() { return {field({field(HostOffset{40})}) & kOffsetMask}; }

  std::shared_ptr<MemoryStorage> storage_;
  std::unique_ptr<FormatDriver> driver_;
  std::uint64_t cluster_ = 0;
};

TEST_F(DriverTest, AutoclearBitsStayUntilTheFirstChange) {
  create({});
  must(write_header_field(*storage_, kAutoclearField, kBitmaps | 0x80U));
  open();
  must(driver_->flush());
  must(driver_->close());
  EXPECT_EQ(field(kAutoclearField), kBitmaps | 0x80U);
  open();
  must(driver_->begin_writing());
  EXPECT_EQ(field(kAutoclearField), 0U);
}

TEST_F(DriverTest, FreedClustersAreNotHandedOutBeforeTheFlush) {
  create({});
  open();
  const HostOffset host = fill(0, cluster_, std::byte{1});
  must(driver_->flush());
  EXPECT_EQ(must(driver_->publish_zero({{0}, cluster_}, Zeroing::may_unmap)), cluster_);
  EXPECT_NE(must(driver_->reserve({{cluster_}, cluster_})).runs()[0].host_offset, host);
  must(driver_->flush());
  EXPECT_EQ(must(driver_->reserve({{cluster_}, cluster_})).runs()[0].host_offset, host);
  expect_clean();
}

TEST_F(DriverTest, FreedClustersArePunchedBeforeTheyAreReused) {
  create({});
  open();
  const HostOffset host = fill(0, cluster_, std::byte{1});
  must(driver_->flush());
  must(driver_->discard({{0}, cluster_}));
  must(driver_->flush());
  std::vector<std::byte> bytes(cluster_, std::byte{9});
  must(storage_->read(host, bytes));
  EXPECT_EQ(bytes, std::vector<std::byte>(cluster_));
}

TEST_F(DriverTest, AnEntryThatLeadsToMetadataIsRefused) {
  create({});
  open();
  static_cast<void>(fill(0, cluster_, std::byte{1}));
  must(driver_->close());
  const HostOffset table = l2_table();
  for (const std::uint64_t target : {field(HostOffset{40}), field(HostOffset{48}), table.value}) {
    must(write_header_field(*storage_, table, target | kCopied));
    open();
    EXPECT_ERRNO(driver_->map({{0}, 1}), EUCLEAN);
    EXPECT_ERRNO(driver_->reserve({{0}, cluster_}), EUCLEAN);
    EXPECT_ERRNO(driver_->publish_zero({{0}, cluster_}, Zeroing::may_unmap), EUCLEAN);
    EXPECT_ERRNO(driver_->discard({{0}, cluster_}), EUCLEAN);
    EXPECT_EQ(kind(cluster_), MappingKind::unallocated) << "other clusters go on";
  }
}

TEST_F(DriverTest, AnEntryBehindTheEndOfTheFileIsRefused) {
  create({});
  open();
  static_cast<void>(fill(0, cluster_, std::byte{1}));
  must(driver_->close());
  driver_.reset();
  must(write_header_field(*storage_, l2_table(), align_up(must(storage_->size()), cluster_) | kCopied));
  open();
  EXPECT_ERRNO(driver_->map({{0}, 1}), EUCLEAN);
}

TEST_F(DriverTest, ReservedBitsAreReadButNotChanged) {
  create({});
  open();
  static_cast<void>(fill(0, cluster_, std::byte{1}));
  must(driver_->close());
  must(write_header_field(*storage_, l2_table(), field(l2_table()) | 0x10U));
  open();
  EXPECT_EQ(kind(0), MappingKind::data);
  EXPECT_FALSE(must(driver_->map({{0}, 1})).in_place);
  EXPECT_ERRNO(driver_->reserve({{0}, cluster_}), EUCLEAN);
}

TEST_F(DriverTest, AnL2TableThatIsNamedTwiceIsReadButNotChanged) {
  create({{"cluster_size", "4k"}});
  open();
  static_cast<void>(fill(0, cluster_, std::byte{1}));
  must(driver_->close());
  const HostOffset l1{field(HostOffset{40})};
  must(write_header_field(*storage_, l1 + 8, field(l1)));
  open();
  const std::uint64_t other = cluster_ / 8 * cluster_;
  EXPECT_EQ(kind(other), MappingKind::data);
  EXPECT_ERRNO(driver_->publish_zero({{other}, cluster_}, Zeroing::may_unmap), EUCLEAN);
}

TEST_F(DriverTest, LazyRefcountsSetTheDirtyBitBeforeTheFirstTableChange) {
  create({{"lazy_refcounts", "on"}});
  open();
  must(driver_->begin_writing());
  EXPECT_EQ(field(kIncompatibleField), 0U);
  static_cast<void>(fill(0, cluster_, std::byte{1}));
  EXPECT_EQ(field(kIncompatibleField), kDirty);
  must(driver_->flush());
  EXPECT_EQ(field(kIncompatibleField), kDirty);
  must(driver_->close());
  EXPECT_EQ(field(kIncompatibleField), 0U);
  EXPECT_EQ(check().corruptions, 0U);
}

TEST_F(DriverTest, ACrashWithLazyRefcountsIsMendedByTheNextWriter) {
  create({{"lazy_refcounts", "on"}});
  open();
  static_cast<void>(fill(0, 4 * cluster_, std::byte{1}));
  must(driver_->flush());
  EXPECT_GT(check().corruptions, 0U);
  open();
  EXPECT_EQ(kind(3 * cluster_), MappingKind::data);
  expect_clean();
}

TEST_F(DriverTest, RefcountTableGrowsWithTheFile) {
  create({{"cluster_size", "512"}, {"refcount_bits", "64"}});
  open();
  const auto entries = field(HostOffset{56}) >> 32U;
  static_cast<void>(fill(0, 16U << 20U, std::byte{1}));
  EXPECT_GT(field(HostOffset{56}) >> 32U, entries);
  expect_clean();
}

TEST_F(DriverTest, ResizeMovesTheL1Table) {
  create({{"cluster_size", "4k"}});
  open();
  static_cast<void>(fill(kSize - cluster_, cluster_, std::byte{3}));
  const HostOffset l1{field(HostOffset{40})};
  must(driver_->resize(4096 * kSize, 0));
  EXPECT_NE(HostOffset{field(HostOffset{40})}, l1);
  EXPECT_EQ(kind(kSize - cluster_), MappingKind::data);
  static_cast<void>(fill(4096 * kSize - cluster_, cluster_, std::byte{4}));
  must(driver_->close());
  open();
  EXPECT_EQ(driver_->virtual_size(), 4096 * kSize);
  must(driver_->resize(kSize / 2, 0));
  EXPECT_EQ(kind(0), MappingKind::unallocated);
  expect_clean();
}

TEST_F(DriverTest, GrowingHidesTheTailOfALongerBackingFile) {
  create({{"cluster_size", "4k"}}, "base.raw");
  open();
  must(driver_->resize(2 * kSize, 2 * kSize - 512));
  EXPECT_EQ(kind(kSize), MappingKind::zero);
  EXPECT_EQ(kind(2 * kSize - 4096), MappingKind::zero);
  EXPECT_EQ(kind(kSize - 1), MappingKind::unallocated);
  expect_clean();
  create({{"compat", "0.10"}}, "base.raw");
  open();
  EXPECT_ERRNO(driver_->resize(2 * kSize, 2 * kSize), EOPNOTSUPP);
  EXPECT_EQ(driver_->virtual_size(), kSize);
}

/// A row of formats/qcow2.md, "Write zeroes" and "Discard".
struct ZeroRow {
  const char* compat;
  bool backing;
  bool allocated;
  Zeroing zeroing;
  int error;
  MappingKind kind;
  bool keeps_room;
};

class ZeroTable : public DriverTest, public testing::WithParamInterface<ZeroRow> {};

TEST_P(ZeroTable, EveryStateBecomesWhatTheFormatPageSays) {
  const ZeroRow& row = GetParam();
  create({{"compat", row.compat}}, row.backing ? "base.raw" : "");
  open();
  if (row.allocated) static_cast<void>(fill(0, cluster_, std::byte{1}));
  const auto zeroed = driver_->publish_zero({{0}, cluster_}, row.zeroing);
  if (row.error != 0) {
    EXPECT_ERRNO(zeroed, row.error);
  } else {
    ASSERT_OK(zeroed);
    const Mapping mapping = must(driver_->map({{0}, cluster_}));
    EXPECT_EQ(mapping.kind, row.kind);
    EXPECT_EQ(mapping.storage != nullptr, row.keeps_room);
  }
  expect_clean();
}

constexpr auto kZero = MappingKind::zero;
constexpr auto kUnallocated = MappingKind::unallocated;
INSTANTIATE_TEST_SUITE_P(Rows, ZeroTable,
                         testing::Values(ZeroRow{"1.1", true, false, Zeroing::keep, 0, kZero, false},
                                         ZeroRow{"1.1", true, true, Zeroing::keep, 0, kZero, true},
                                         ZeroRow{"1.1", true, true, Zeroing::may_unmap, 0, kZero, false},
                                         ZeroRow{"1.1", false, false, Zeroing::keep, 0, kUnallocated, false},
                                         ZeroRow{"1.1", false, true, Zeroing::keep, 0, kZero, true},
                                         ZeroRow{"1.1", false, true, Zeroing::may_unmap, 0, kUnallocated, false},
                                         ZeroRow{"0.10", false, true, Zeroing::may_unmap, 0, kUnallocated, false},
                                         ZeroRow{"0.10", false, true, Zeroing::keep, EOPNOTSUPP, kZero, false},
                                         ZeroRow{"0.10", true, true, Zeroing::may_unmap, EOPNOTSUPP, kZero, false},
                                         ZeroRow{"0.10", true, false, Zeroing::may_unmap, EOPNOTSUPP, kZero, false}));

TEST_F(DriverTest, DiscardHidesTheBackingFileAndVersion2KeepsIt) {
  create({}, "base.raw");
  open();
  must(driver_->discard({{0}, 2 * cluster_}));
  EXPECT_EQ(kind(0), MappingKind::zero);
  must(driver_->discard({{5 * cluster_ + 1}, cluster_}));
  EXPECT_EQ(kind(5 * cluster_), MappingKind::unallocated) << "parts of clusters are left alone";
  expect_clean();
  create({{"compat", "0.10"}}, "base.raw");
  open();
  static_cast<void>(fill(0, cluster_, std::byte{1}));
  must(driver_->discard({{0}, cluster_}));
  EXPECT_EQ(kind(0), MappingKind::data);
}

TEST_F(DriverTest, SubclustersAreReservedAndZeroedOneByOne) {
  create({{"extended_l2", "on"}}, "base.raw");
  open();
  const std::uint64_t unit = driver_->geometry().allocation_unit;
  ASSERT_EQ(unit * 32, cluster_);
  static_cast<void>(fill(3 * unit, 2 * unit, std::byte{1}));
  EXPECT_EQ(kind(2 * unit), MappingKind::unallocated);
  EXPECT_EQ(kind(3 * unit), MappingKind::data);
  EXPECT_EQ(kind(5 * unit), MappingKind::unallocated);
  const auto room = must(driver_->reserve({{unit}, 8 * unit}));
  EXPECT_EQ(room.range(), (GuestRange{{unit}, 2 * unit})) << "up to what is there already";
  EXPECT_EQ(must(driver_->publish_zero({{4 * unit}, 2 * unit}, Zeroing::keep)), 2 * unit);
  EXPECT_EQ(kind(4 * unit), MappingKind::zero);
  EXPECT_EQ(kind(3 * unit), MappingKind::data);
  must(driver_->close());
  open();
  EXPECT_EQ(kind(4 * unit), MappingKind::zero);
  expect_clean();
}

TEST_F(DriverTest, MapsOfHugeEmptyDisksAreOneAnswer) {
  create({});
  open();
  must(driver_->resize(1ULL << 50U, 0));
  EXPECT_EQ(must(driver_->map({{0}, 1ULL << 50U})).length, 1ULL << 50U);
}

}  // namespace
}  // namespace penstock::qcow2
