// SPDX-License-Identifier: Apache-2.0
#include "format/cluster_set.hpp"

#include <algorithm>
#include <vector>

namespace penstock {

void ClusterSet::insert(std::uint64_t cluster, std::uint64_t count) {
  for (const std::uint64_t end = cluster + count; cluster < end; ++cluster) {
    const std::uint64_t index = cluster % kPageClusters;
    pages_[cluster / kPageClusters][index / 64] |= 1ULL << (index % 64);
  }
}

void ClusterSet::erase(std::uint64_t cluster, std::uint64_t count) {
  for (const std::uint64_t end = cluster + count; cluster < end; ++cluster) {
    const auto page = pages_.find(cluster / kPageClusters);
    if (page == pages_.end()) continue;
    const std::uint64_t index = cluster % kPageClusters;
    page->second[index / 64] &= ~(1ULL << (index % 64));
    if (page->second[index / 64] == 0 && std::ranges::all_of(page->second, [](auto word) { return word == 0; })) {
      pages_.erase(page);
    }
  }
}

bool ClusterSet::contains(std::uint64_t cluster) const {
  const auto page = pages_.find(cluster / kPageClusters);
  if (page == pages_.end()) return false;
  const std::uint64_t index = cluster % kPageClusters;
  return ((page->second[index / 64] >> (index % 64)) & 1U) != 0;
}

bool ClusterSet::overlaps(std::uint64_t first, std::uint64_t count) const {
  for (std::uint64_t cluster = first; cluster < first + count; ++cluster) {
    if (contains(cluster)) return true;
  }
  return false;
}

void ClusterSet::visit_absent(std::uint64_t first, std::uint64_t end,
                              const std::function<bool(std::uint64_t first, std::uint64_t count)>& visit) const {
  std::vector<std::uint64_t> numbers;
  for (const auto& [number, page] : pages_) {
    if (number >= first / kPageClusters && number * kPageClusters < end) numbers.push_back(number);
  }
  std::ranges::sort(numbers);
  // `first` is where the run in hand began: everything up to the cluster looked at is absent.
  for (const std::uint64_t number : numbers) {
    const std::uint64_t page_end = std::min(end, (number + 1) * kPageClusters);
    for (auto cluster = std::max(first, number * kPageClusters); cluster < page_end; ++cluster) {
      if (!contains(cluster)) continue;
      if (cluster > first && !visit(first, cluster - first)) return;
      first = cluster + 1;
    }
  }
  if (first < end) visit(first, end - first);
}

}  // namespace penstock
