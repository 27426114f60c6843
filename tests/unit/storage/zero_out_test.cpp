// SPDX-License-Identifier: Apache-2.0
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/faulty_storage.hpp"

namespace penstock::test {
namespace {

TEST(ZeroOut, WritesZeroesWhereNothingElseWorks) {
  const auto memory = std::make_shared<MemoryStorage>();
  constexpr std::size_t kLength = 300000;
  ASSERT_OK(memory->write({0}, std::vector<std::byte>(kLength, std::byte{1})));
  FaultyStorage storage(memory);
  storage.arm({.kinds = FaultyStorage::zeroes, .number = EOPNOTSUPP, .for_ever = true});
  ASSERT_OK(zero_out(storage, {{5}, kLength - 10}, Zeroing::keep));
  std::vector<std::byte> expected(kLength);
  std::fill_n(expected.begin(), 5, std::byte{1});
  std::fill_n(expected.rbegin(), 5, std::byte{1});
  std::vector<std::byte> found(kLength);
  ASSERT_OK(storage.read({0}, found));
  EXPECT_EQ(found, expected);
}

TEST(ZeroOut, OtherErrorsAreNotHidden) {
  FaultyStorage storage(std::make_shared<MemoryStorage>());
  storage.arm({.kinds = FaultyStorage::zeroes, .number = ENOSPC});
  EXPECT_ERRNO(zero_out(storage, {{0}, 10}, Zeroing::keep), ENOSPC);
  EXPECT_EQ(must(storage.size()), 0U);
}

}  // namespace
}  // namespace penstock::test
