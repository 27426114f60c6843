// SPDX-License-Identifier: Apache-2.0
#include "image/unpacked_cache.hpp"

#include "tests/support/expect.hpp"
#include "tests/support/fake_driver.hpp"

#include <thread>
#include <vector>

namespace penstock {
namespace {

using test::FakeDriver;
using test::must;

constexpr std::uint32_t kCluster = 64U << 10U;

std::vector<std::byte> pattern(std::uint64_t length, unsigned seed) {
  std::vector<std::byte> bytes(length);
  test::Random(seed).fill(bytes);
  return bytes;
}

class UnpackedCacheTest : public testing::Test {
 protected:
  UnpackedCacheTest() {
    for (unsigned i = 0; i < 64; ++i) driver_.put_compressed({i * std::uint64_t{kCluster}}, pattern(kCluster, i));
  }
  std::vector<std::byte> read(UnpackedCache& cache, std::uint64_t offset, std::uint64_t length) {
    std::vector<std::byte> out(length);
    const auto mapping = must(driver_.map({{offset}, length}));
    must(cache.read(1, driver_, mapping, {offset}, out));
    return out;
  }
  FakeDriver driver_{{.size = 64ULL * kCluster, .cluster_size = kCluster, .unit = kCluster, .compressed = true}};
};

TEST_F(UnpackedCacheTest, SmallReadsOfOneClusterUnpackOnce) {
  UnpackedCache cache(8U << 20U, kCluster);
  const auto expected = pattern(kCluster, 3);
  for (std::uint64_t at = 0; at < kCluster; at += 4096) {
    const auto found = read(cache, 3ULL * kCluster + at, 4096);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin() + static_cast<std::ptrdiff_t>(at)));
  }
  EXPECT_EQ(driver_.unpacks, 1U);
}

TEST_F(UnpackedCacheTest, ReadersAtTheSameTimeUnpackOnce) {
  UnpackedCache cache(8U << 20U, kCluster);
  std::vector<std::thread> threads;
  auto expected = pattern(kCluster, 5);
  expected.resize(kCluster - 512);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { EXPECT_EQ(read(cache, 5ULL * kCluster, kCluster - 512), expected); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(driver_.unpacks, 1U);
}

TEST_F(UnpackedCacheTest, WholeClustersAreUnpackedInPlaceAndNotKept) {
  UnpackedCache cache(8U << 20U, kCluster);
  EXPECT_EQ(read(cache, 5ULL * kCluster, kCluster), pattern(kCluster, 5));
  EXPECT_EQ(cache.bytes(), 0U);
  static_cast<void>(read(cache, 5ULL * kCluster, 512));
  EXPECT_EQ(driver_.unpacks, 2U);
  // What is kept is used.
  EXPECT_EQ(read(cache, 5ULL * kCluster, kCluster), pattern(kCluster, 5));
  EXPECT_EQ(driver_.unpacks, 2U);
}

TEST_F(UnpackedCacheTest, MemoryStaysWithinTheBudget) {
  constexpr std::uint64_t kBudget = 1U << 20U;
  UnpackedCache cache(kBudget, kCluster);
  for (unsigned i = 0; i < 64; ++i) {
    static_cast<void>(read(cache, i * std::uint64_t{kCluster}, 512));
    EXPECT_EQ(read(cache, i * std::uint64_t{kCluster}, kCluster), pattern(kCluster, i));
    EXPECT_LE(cache.bytes(), kBudget);
  }
  EXPECT_GT(cache.bytes(), 0U);
}

TEST_F(UnpackedCacheTest, AClusterPackedAnewElsewhereIsReadAnew) {
  UnpackedCache cache(8U << 20U, kCluster);
  EXPECT_EQ(read(cache, 0, kCluster), pattern(kCluster, 0));
  driver_.put_compressed({0}, pattern(kCluster, 99));
  EXPECT_EQ(read(cache, 0, kCluster), pattern(kCluster, 99));
}

TEST_F(UnpackedCacheTest, AnImpossiblePackedLengthIsCorrupt) {
  UnpackedCache cache(8U << 20U, kCluster);
  auto mapping = must(driver_.map({{0}, 512}));
  mapping.packed_length = 2 * kCluster + 1;
  std::vector<std::byte> out(512);
  EXPECT_ERRNO(cache.read(0, driver_, mapping, {0}, out), EUCLEAN);
}

}  // namespace
}  // namespace penstock
