// SPDX-License-Identifier: Apache-2.0
#include "format/table_cache.hpp"

#include "base/endian.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"

namespace penstock {
namespace {

using test::must;

constexpr std::size_t kTable = 4096;

std::uint64_t first_word(const TableHandle& table) {
  return load_be<std::uint64_t>(table->bytes(), 0);
}

void put(TableCache& cache, const TableHandle& table, std::size_t at, std::uint64_t value) {
  cache.mark_dirty(table, at, 8);
  store_be(table->mutable_bytes(), at, value);
}

TEST(TableCache, ReadsATableOnce) {
  MemoryStorage storage;
  std::vector<std::byte> bytes(kTable, std::byte{1});
  ASSERT_OK(storage.write({kTable}, bytes));
  TableCache cache(storage, kTable, 1 << 20U);
  const auto table = must(cache.load({kTable}));
  EXPECT_EQ(first_word(table), 0x0101010101010101U);
  EXPECT_EQ(must(cache.load({kTable})), table);
}

TEST(TableCache, ChangedTablesStayWhateverTheBound) {
  MemoryStorage storage;
  TableCache cache(storage, kTable, 1);
  for (std::uint64_t at = 1; at <= 200; ++at) put(cache, must(cache.load({at * kTable})), 0, at);
  for (std::uint64_t at = 1; at <= 200; ++at) EXPECT_EQ(first_word(must(cache.load({at * kTable}))), at);
  EXPECT_EQ(cache.dirty_bytes(), 200 * kTable);
  ASSERT_OK(cache.write_dirty());
  EXPECT_EQ(cache.dirty_bytes(), 0U);
  for (std::uint64_t at = 1; at <= 200; ++at) EXPECT_EQ(first_word(must(cache.load({at * kTable}))), at);
}

TEST(TableCache, ACopyHoldsTheMomentAndOnlyWhatChanged) {
  MemoryStorage storage;
  TableCache cache(storage, kTable, 1 << 20U);
  const auto table = must(cache.load({0}));
  put(cache, table, 1024, 7);
  const auto copies = cache.copy_dirty();
  ASSERT_EQ(copies.size(), 1U);
  EXPECT_EQ(copies[0].from, 1024U);
  EXPECT_EQ(copies[0].bytes.size(), 512U);
  put(cache, table, 1024, 8);
  EXPECT_EQ(load_be<std::uint64_t>(std::span(copies[0].bytes), 0), 7U);
  cache.finish(copies[0], true);
  const auto later = cache.copy_dirty();
  ASSERT_EQ(later.size(), 1U);
  EXPECT_EQ(load_be<std::uint64_t>(std::span(later[0].bytes), 0), 8U);
}

TEST(TableCache, ATableInFlightIsNotReadBackFromTheDisk) {
  MemoryStorage storage;
  TableCache cache(storage, kTable, 1);
  put(cache, must(cache.load({0})), 0, 5);
  const auto copies = cache.copy_dirty();
  for (std::uint64_t at = 1; at < 100; ++at) ASSERT_OK(cache.load({at * kTable}));
  EXPECT_EQ(first_word(must(cache.load({0}))), 5U);
  cache.finish(copies[0], false);
  EXPECT_EQ(cache.copy_dirty().size(), 1U) << "what failed has to be written again";
}

TEST(TableCache, AddedTablesAreZeroAndWhollyWritten) {
  MemoryStorage storage;
  std::vector<std::byte> garbage(kTable, std::byte{0xff});
  ASSERT_OK(storage.write({0}, garbage));
  TableCache cache(storage, kTable, 1 << 20U);
  ASSERT_OK(cache.load({0}));
  EXPECT_EQ(first_word(cache.add({0})), 0U);
  const auto copies = cache.copy_dirty();
  ASSERT_EQ(copies.size(), 1U);
  EXPECT_EQ(copies[0].bytes.size(), kTable);
}

TEST(TableCache, ForgottenTablesAreNotWritten) {
  MemoryStorage storage;
  TableCache cache(storage, kTable, 1 << 20U);
  put(cache, must(cache.load({0})), 0, 5);
  cache.forget({0});
  EXPECT_EQ(cache.dirty_bytes(), 0U);
  EXPECT_EQ(first_word(must(cache.load({0}))), 0U);
}

}  // namespace
}  // namespace penstock
