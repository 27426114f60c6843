// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/refcount.hpp"

#include "format/qcow2/refcount_entry.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"

namespace penstock::qcow2 {
namespace {

using test::must;

TEST(RefcountEntry, NeighboursOfEveryWidthDoNotTouch) {
  for (std::uint32_t order = 0; order <= 6; ++order) {
    std::vector<std::byte> block(512);
    const std::uint64_t max = ~0ULL >> (64U - (1U << order));
    const std::uint64_t count = block.size() * 8 >> order;
    for (std::uint64_t index = 0; index < count; ++index) store_refcount(block, order, index, index % 3 == 0 ? max : 0);
    for (std::uint64_t index = 0; index < count; ++index) {
      EXPECT_EQ(load_refcount(block, order, index), index % 3 == 0 ? max : 0) << "order " << order;
    }
  }
}

TEST(RefcountEntry, NarrowCountsBeginAtTheLowestBits) {
  std::vector<std::byte> block(512);
  for (std::uint64_t index = 0; index < 7; ++index) store_refcount(block, 0, index, 1);
  EXPECT_EQ(block[0], std::byte{0x7f});
  store_refcount(block, 2, 2, 0xa);
  EXPECT_EQ(block[1], std::byte{0x0a});
}

class RefcountsTest : public testing::Test {
 protected:
  RefcountsTest() {
    header_.cluster_bits = 9;
    header_.refcount_table_offset = {512};
    header_.refcount_table_clusters = 1;
  }
  MemoryStorage storage_;
  Header header_;
};

TEST_F(RefcountsTest, CountsWithoutABlockAreZero) {
  ASSERT_OK(storage_.truncate(4096));
  Refcounts refcounts(storage_, header_, 1 << 20U);
  ASSERT_OK(refcounts.load(4096));
  EXPECT_EQ(must(refcounts.get(3)), 0U);
  EXPECT_EQ(must(refcounts.get(1ULL << 50U)), 0U);
  EXPECT_EQ(refcounts.clusters_covered(), 64U * 256U);
}

TEST_F(RefcountsTest, ATableEntryIsWrittenOnlyWhenAsked) {
  ASSERT_OK(storage_.truncate(4096));
  Refcounts refcounts(storage_, header_, 1 << 20U);
  ASSERT_OK(refcounts.load(4096));
  refcounts.add_block(300, 300);
  ASSERT_OK(refcounts.set(300, 1));
  ASSERT_OK(refcounts.write_blocks());
  std::vector<std::byte> entry(8);
  ASSERT_OK(storage_.read({512 + 8}, entry));
  EXPECT_EQ(load_be<std::uint64_t>(std::span<const std::byte>(entry), 0), 0U);
  ASSERT_OK(refcounts.write_entries(refcounts.take_changed_entries()));
  ASSERT_OK(storage_.read({512 + 8}, entry));
  EXPECT_EQ(load_be<std::uint64_t>(std::span<const std::byte>(entry), 0), 300U * 512U);
  Refcounts again(storage_, header_, 1 << 20U);
  ASSERT_OK(again.load(must(storage_.size())));
  EXPECT_EQ(must(again.get(300)), 1U);
}

TEST_F(RefcountsTest, ABlockThatIsNoClusterOfTheFileIsCorrupt) {
  ASSERT_OK(storage_.truncate(4096));
  for (const std::uint64_t bad : {std::uint64_t{513}, std::uint64_t{4096}, std::uint64_t{1} << 63U}) {
    ASSERT_OK(write_header_field(storage_, {512}, bad));
    Refcounts refcounts(storage_, header_, 1 << 20U);
    ASSERT_OK(refcounts.load(4096));
    EXPECT_ERRNO(refcounts.get(3), EUCLEAN);
  }
}

}  // namespace
}  // namespace penstock::qcow2
