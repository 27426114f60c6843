// SPDX-License-Identifier: Apache-2.0
#include "image/zero_scan.hpp"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <vector>

namespace penstock {
namespace {

TEST(ZeroScan, NothingIsAllZero) {
  EXPECT_TRUE(is_all_zero({}));
}

TEST(ZeroScan, EveryByteCountsAtEveryAlignmentForEveryKernel) {
  std::vector<std::byte> bytes(800);
  for (const auto& kernel : zero_kernels()) {
    SCOPED_TRACE(kernel.name);
    for (std::size_t skip = 0; skip < 9; ++skip) {
      const auto part = std::span(bytes).subspan(skip, 700 + skip);
      ASSERT_TRUE(kernel.is_all_zero(part.data(), part.size()));
      for (auto& byte : part) {
        byte = std::byte{0x80};
        ASSERT_FALSE(kernel.is_all_zero(part.data(), part.size()));
        byte = std::byte{0};
      }
    }
  }
}

TEST(ZeroScan, BytesAroundDoNotCountForAnyKernelNorLength) {
  std::vector<std::byte> bytes(700, std::byte{0xff});
  for (const auto& kernel : zero_kernels()) {
    SCOPED_TRACE(kernel.name);
    for (std::size_t length = 0; length < 600; ++length) {
      std::fill_n(bytes.begin() + 3, length, std::byte{0});
      ASSERT_TRUE(kernel.is_all_zero(bytes.data() + 3, length));
      ASSERT_FALSE(kernel.is_all_zero(bytes.data() + 3, length + 1));
      ASSERT_FALSE(kernel.is_all_zero(bytes.data() + 2, length + 1));
    }
    std::ranges::fill(bytes, std::byte{0xff});
  }
}

TEST(ZeroScan, NoKernelReadsBehindTheEnd) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const two = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(two, MAP_FAILED);
  const auto* const end = static_cast<std::byte*>(two) + page;
  ASSERT_EQ(mprotect(static_cast<std::byte*>(two) + page, page, PROT_NONE), 0);
  for (const auto& kernel : zero_kernels()) {
    for (std::size_t length = 0; length < 600; ++length) EXPECT_TRUE(kernel.is_all_zero(end - length, length));
  }
  munmap(two, 2 * page);
}

TEST(ZeroScan, RunsAreClustersWithOneAnswer) {
  constexpr std::uint32_t kUnit = 4096;
  std::vector<std::byte> bytes(8 * kUnit);
  bytes[2 * kUnit + 17] = std::byte{1};
  bytes[3 * kUnit] = std::byte{1};
  bytes[8 * kUnit - 1] = std::byte{1};
  const auto run_at = [&](std::size_t from) { return first_zero_run({from}, std::span(bytes).subspan(from), kUnit); };
  const auto expect = [&](std::size_t from, bool zero, std::size_t length) {
    const auto run = run_at(from);
    EXPECT_EQ(run.zero, zero) << from;
    EXPECT_EQ(run.length, length) << from;
  };
  expect(0, true, 2 * kUnit);
  expect(2 * kUnit, false, 2 * kUnit);
  expect(4 * kUnit, true, 3 * kUnit);
  expect(7 * kUnit, false, kUnit);
  // What a request has of a cluster stands for it: the head of cluster 2 is zero, its rest is not.
  const auto head = first_zero_run({kUnit + 100}, std::span(bytes).subspan(kUnit + 100, kUnit - 90), kUnit);
  EXPECT_TRUE(head.zero);
  EXPECT_EQ(head.length, kUnit - 90U);
  EXPECT_EQ(first_zero_run({0}, {}, kUnit).length, 0U);
}

}  // namespace
}  // namespace penstock
