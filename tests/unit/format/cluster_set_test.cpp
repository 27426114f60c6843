// SPDX-License-Identifier: Apache-2.0
#include "format/cluster_set.hpp"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace penstock
