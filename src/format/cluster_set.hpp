// SPDX-License-Identifier: Apache-2.0
/// A set of host clusters, compact for runs.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <unordered_map>

namespace penstock {

/// Cluster numbers (host offset / cluster size). Memory: 512 bytes for each 4,096 neighbouring clusters of which any
/// is in the set. Threads: readers beside readers; a writer alone.
class ClusterSet {
 public:
  void insert(std::uint64_t cluster, std::uint64_t count = 1);
  void erase(std::uint64_t cluster, std::uint64_t count = 1);
  [[nodiscard]] bool contains(std::uint64_t cluster) const;
  /// Whether any of `count` clusters from `first` on is in the set.
  [[nodiscard]] bool overlaps(std::uint64_t first, std::uint64_t count) const;
  /// Calls `visit(first, count)` for each run of [first, end) that is not in the set, in order, until it returns false.
  /// Time goes by what is in the set, not by `end`.
  void visit_absent(std::uint64_t first, std::uint64_t end,
                    const std::function<bool(std::uint64_t first, std::uint64_t count)>& visit) const;
  [[nodiscard]] bool empty() const { return pages_.empty(); }

 private:
  static constexpr std::uint64_t kPageClusters = 4096;
  using Page = std::array<std::uint64_t, kPageClusters / 64>;
  std::unordered_map<std::uint64_t, Page> pages_;
};

}  // namespace penstock
