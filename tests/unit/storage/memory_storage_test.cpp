// SPDX-License-Identifier: Apache-2.0
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/model_disk.hpp"
#include "tests/support/random.hpp"

namespace penstock::test {
namespace {

TEST(MemoryStorage, IsWhatAFlatArrayWouldBe) {
  Random random("MemoryStorage");
  constexpr std::uint64_t kSize = 64U << 10U;
  MemoryStorage storage;
  ModelDisk model(kSize);
  std::uint64_t size = 0;
  for (int round = 0; round < 2000; ++round) {
    const auto offset = random.below(kSize);
    const auto length = random.below(std::min<std::uint64_t>(kSize - offset, 10000)) + 1;
    switch (random.below(4)) {
      case 0: {
        std::vector<std::byte> data(length);
        random.fill(data);
        ASSERT_OK(storage.write({offset}, data));
        model.write({offset}, data);
        size = std::max(size, offset + length);
        break;
      }
      case 1:
        ASSERT_OK(storage.write_zeroes({{offset}, length}, Zeroing::may_unmap));
        model.zero({{offset}, length});
        size = std::max(size, offset + length);
        break;
      case 2:
        if (random.chance(80)) break;
        ASSERT_OK(storage.truncate(offset));
        model.zero({{offset}, kSize - offset});
        size = offset;
        break;
      default:
        ASSERT_OK(storage.discard({{offset}, length}));
        model.zero({{offset}, length});
    }
    std::vector<std::byte> found(kSize);
    ASSERT_OK(storage.read({0}, found));
    ASSERT_EQ(model.difference({0}, found), "") << "round " << round;
    ASSERT_EQ(must(storage.size()), size);
  }
}

TEST(MemoryStorage, TakesNoMemoryForHoles) {
  MemoryStorage storage;
  ASSERT_OK(storage.truncate(1ULL << 60U));
  ASSERT_OK(storage.write({1ULL << 59U}, std::vector<std::byte>(10, std::byte{1})));
  ASSERT_OK(storage.write_zeroes({{0}, 1ULL << 58U}, Zeroing::keep));
  EXPECT_EQ(must(storage.allocated_bytes()), 4096U);
  EXPECT_EQ(must(storage.extent({0})).length, 1ULL << 59U);
  EXPECT_TRUE(must(storage.extent({1ULL << 59U})).data);
}

TEST(MemoryStorage, CopyIsIndependent) {
  MemoryStorage storage;
  ASSERT_OK(storage.write({0}, std::vector<std::byte>(10, std::byte{1})));
  const auto copy = storage.copy();
  ASSERT_OK(storage.write({0}, std::vector<std::byte>(10, std::byte{2})));
  std::vector<std::byte> found(10);
  ASSERT_OK(copy->read({0}, found));
  EXPECT_EQ(found, std::vector<std::byte>(10, std::byte{1}));
  EXPECT_NE(copy->facts().identity, storage.facts().identity);
}

}  // namespace
}  // namespace penstock::test
