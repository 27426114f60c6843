// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/cluster_use.hpp"

#include "base/text.hpp"

namespace penstock::qcow2 {

void ClusterUse::add(std::uint64_t first, std::uint64_t end, std::uint64_t times) {
  for (std::uint64_t cluster = first; cluster < end; ++cluster) references_.add(cluster, times);
  clusters_ = std::max(clusters_, end);
}

void ClusterUse::count(HostOffset offset, std::uint64_t bytes, std::uint64_t times, Findings& findings) {
  if (bytes == 0) return;
  if (!is_countable(offset, bytes)) {
    findings.corruption(concat("ERROR: counting reference for region exceeding the end of the file by one cluster or "
                               "more: offset ",
                               hex(offset.value), " size ", hex(bytes)),
                        times);
    keep_free(offset, bytes);
    return;
  }
  add(offset.value >> cluster_bits_, ((offset.value + bytes - 1) >> cluster_bits_) + 1, times);
}

void ClusterUse::count_packed(HostOffset offset, std::uint64_t bytes, std::uint64_t times, Findings& findings) {
  const std::uint64_t file_end = divide_up(file_size_, 1ULL << cluster_bits_);
  if (!is_countable(offset, bytes) && offset.value < file_size_) add(offset.value >> cluster_bits_, file_end, times);
  count(offset, bytes, times, findings);
}

void ClusterUse::keep_free(HostOffset offset, std::uint64_t bytes) {
  constexpr std::uint64_t kClustersMax = 64;  // of one range: tables behind the end may claim any length
  const std::uint64_t first = offset.value >> cluster_bits_;
  const std::uint64_t count = std::min(divide_up(bytes, 1ULL << cluster_bits_) + 1, kClustersMax);
  for (std::uint64_t cluster = first; cluster < first + count; ++cluster) kept_free_.add(cluster);
}

}  // namespace penstock::qcow2
