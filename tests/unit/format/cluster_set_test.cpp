// SPDX-License-Identifier: Apache-2.0
#include "format/cluster_set.hpp"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace penstock {
namespace {

TEST(ClusterSet, HoldsRunsAcrossPages) {
  ClusterSet set;
  set.insert(4090, 20);
  EXPECT_FALSE(set.contains(4089));
  EXPECT_TRUE(set.contains(4090));
  EXPECT_TRUE(set.contains(4109));
  EXPECT_FALSE(set.contains(4110));
  EXPECT_TRUE(set.overlaps(4000, 91));
  EXPECT_FALSE(set.overlaps(4000, 90));
}

TEST(ClusterSet, IsEmptyAgainWhenAllIsErased) {
  ClusterSet set;
  set.insert(1ULL << 47U, 3);
  set.erase(1ULL << 47U, 1);
  EXPECT_FALSE(set.empty());
  set.erase((1ULL << 47U) + 1, 2);
  EXPECT_TRUE(set.empty());
  set.erase(5);
}

TEST(ClusterSet, TellsWhatIsAbsentInOrder) {
  ClusterSet set;
  set.insert(3);
  set.insert(4095, 3);
  set.insert(1ULL << 50U);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs;
  const auto note = [&](std::uint64_t first, std::uint64_t count) {
    runs.emplace_back(first, count);
    return true;
  };
  using Runs = decltype(runs);
  set.visit_absent(1, (1ULL << 50U) + 5, note);
  EXPECT_EQ(runs, (Runs{{1, 2}, {4, 4091}, {4098, (1ULL << 50U) - 4098}, {(1ULL << 50U) + 1, 4}}));
  runs.clear();
  set.visit_absent(3, 4, note);
  EXPECT_TRUE(runs.empty());
  set.visit_absent(4000, 4096, note);
  EXPECT_EQ(runs, (Runs{{4000, 95}}));
  set.visit_absent(0, 5000, [&](std::uint64_t, std::uint64_t) { return false; });
}

}  // namespace
}  // namespace penstock
