// SPDX-License-Identifier: Apache-2.0
/// How often each host cluster is referred to, counted in memory.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace penstock::qcow2 {

/// A sparse array of counts: memory grows with the clusters that have one (about 1.6 bytes each where they lie close
/// together, 100 where they do not), not with the size of the file. Threads: one at a time.
class ReferenceTally {
 public:
  void add(std::uint64_t cluster, std::uint64_t count = 1);
  /// `count` must not exceed what is there.
  void subtract(std::uint64_t cluster, std::uint64_t count = 1);
  [[nodiscard]] std::uint64_t get(std::uint64_t cluster) const;
  /// The first cluster at or after `from` and before `end` with a count; `end` when there is none. Cheap when called in
  /// ascending order after seal().
  [[nodiscard]] std::uint64_t next(std::uint64_t from, std::uint64_t end) const;
  /// All page numbers in order, for next(). To be called again after clusters on new pages were counted.
  void seal();
  /// One behind the last cluster that ever had a count.
  [[nodiscard]] std::uint64_t end() const { return end_; }
  [[nodiscard]] bool empty() const { return pages_.empty(); }

 private:
  static constexpr std::uint64_t kPageClusters = 64;
  static constexpr std::uint8_t kLarge = 255;  ///< the count is in large_
  using Page = std::array<std::uint8_t, kPageClusters>;

  void set(std::uint64_t cluster, std::uint64_t count);
  [[nodiscard]] const Page* find(std::uint64_t number) const;

  std::unordered_map<std::uint64_t, Page> pages_;
  std::unordered_map<std::uint64_t, std::uint64_t> large_;
  std::vector<std::uint64_t> sealed_;
  std::uint64_t end_ = 0;
  // Neighbours are asked for one after the other: remember the page. Elements of an unordered_map stay where they are.
  mutable std::uint64_t recent_number_ = ~0ULL;
  mutable const Page* recent_ = nullptr;
};

}  // namespace penstock::qcow2
