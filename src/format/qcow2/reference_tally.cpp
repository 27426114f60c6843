// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/reference_tally.hpp"

#include <algorithm>

namespace penstock::qcow2 {

const ReferenceTally::Page* ReferenceTally::find(std::uint64_t number) const {
  if (number != recent_number_) {
    const auto found = pages_.find(number);
    recent_ = found == pages_.end() ? nullptr : &found->second;
    recent_number_ = number;
  }
  return recent_;
}

std::uint64_t ReferenceTally::get(std::uint64_t cluster) const {
  const Page* page = find(cluster / kPageClusters);
  if (page == nullptr) return 0;
  const std::uint8_t count = (*page)[cluster % kPageClusters];
  return count == kLarge ? large_.at(cluster) : count;
}

void ReferenceTally::set(std::uint64_t cluster, std::uint64_t count) {
  const std::uint64_t number = cluster / kPageClusters;
  Page& page = pages_[number];
  recent_number_ = number;
  recent_ = &page;
  std::uint8_t& small = page[cluster % kPageClusters];
  if (count >= kLarge) {
    large_[cluster] = count;
    small = kLarge;
    return;
  }
  if (small == kLarge) large_.erase(cluster);
  small = static_cast<std::uint8_t>(count);
}

void ReferenceTally::add(std::uint64_t cluster, std::uint64_t count) {
  if (count == 0) return;
  set(cluster, get(cluster) + count);
  end_ = std::max(end_, cluster + 1);
}

void ReferenceTally::subtract(std::uint64_t cluster, std::uint64_t count) {
  if (count != 0) set(cluster, get(cluster) - count);
}

void ReferenceTally::seal() {
  sealed_.clear();
  sealed_.reserve(pages_.size());
  for (const auto& [number, page] : pages_) sealed_.push_back(number);
  std::ranges::sort(sealed_);
}

std::uint64_t ReferenceTally::next(std::uint64_t from, std::uint64_t end) const {
  auto number = std::ranges::lower_bound(sealed_, from / kPageClusters);
  for (; number != sealed_.end() && *number * kPageClusters < end; ++number) {
    const Page& page = *find(*number);
    const std::uint64_t first = *number * kPageClusters;
    for (std::uint64_t cluster = std::max(from, first); cluster < std::min(end, first + kPageClusters); ++cluster) {
      if (page[cluster - first] != 0) return cluster;
    }
  }
  return end;
}

}  // namespace penstock::qcow2
