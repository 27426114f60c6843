// SPDX-License-Identifier: Apache-2.0
#include "format/raw/raw_driver.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"

namespace penstock::test {
namespace {

class RawDriverTest : public testing::Test {
 protected:
  std::unique_ptr<FormatDriver> open(std::uint64_t size) {
    EXPECT_OK(memory_->truncate(size));
    return must(kRawFormat.open(memory_, {.writable = true}));
  }
  std::shared_ptr<MemoryStorage> memory_ = std::make_shared<MemoryStorage>();
};

TEST_F(RawDriverTest, LengthOfTheFileIsTheVirtualSizeToTheByte) {
  for (const std::uint64_t size : {0ULL, 1ULL, 511ULL, 102500ULL, 1ULL << 40U}) {
    EXPECT_EQ(open(size)->virtual_size(), size);
  }
}

TEST_F(RawDriverTest, EveryByteIsMappedInPlace) {
  const auto driver = open(100000);
  const auto mapping = must(driver->map({{777}, 5000}));
  EXPECT_EQ(mapping.kind, MappingKind::data);
  EXPECT_EQ(mapping.length, 5000U);
  EXPECT_EQ(mapping.storage, memory_.get());
  EXPECT_EQ(mapping.host_offset, HostOffset{777});
  EXPECT_TRUE(mapping.in_place);
  EXPECT_TRUE(driver->capabilities().always_in_place);
}

TEST_F(RawDriverTest, ZeroesAreForTheImageToWrite) {
  EXPECT_ERRNO(open(100000)->publish_zero({{0}, 4096}, Zeroing::may_unmap), EOPNOTSUPP);
}

TEST_F(RawDriverTest, ResizeChangesTheFile) {
  const auto driver = open(1000);
  ASSERT_OK(driver->resize(5000, 0));
  EXPECT_EQ(driver->virtual_size(), 5000U);
  EXPECT_EQ(must(memory_->size()), 5000U);
  ASSERT_OK(driver->resize(10, 0));
  EXPECT_EQ(must(memory_->size()), 10U);
}

TEST_F(RawDriverTest, DiscardStaysInsideTheDisk) {
  const auto driver = open(5000);
  ASSERT_OK(memory_->write({0}, std::vector<std::byte>(5000, std::byte{1})));
  ASSERT_OK(driver->discard({{4096}, 4096}));
  EXPECT_EQ(must(memory_->size()), 5000U);
}

}  // namespace
}  // namespace penstock::test
