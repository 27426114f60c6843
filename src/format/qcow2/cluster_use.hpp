// SPDX-License-Identifier: Apache-2.0
/// Who uses which host cluster, as the image's own tables tell.
#pragma once

#include "format/qcow2/findings.hpp"
#include "format/qcow2/header.hpp"
#include "format/qcow2/reference_tally.hpp"

namespace penstock::qcow2 {

class ClusterUse {
 public:
  ClusterUse(std::uint64_t file_size, std::uint32_t cluster_bits)
      : file_size_(file_size), cluster_bits_(cluster_bits), clusters_(divide_up(file_size, 1ULL << cluster_bits)) {}

  /// Counts `times` references to every cluster that [offset, offset + bytes) touches. A range that ends a cluster or
  /// more behind the end of the file is reported and not counted, as in QEMU; only its place is kept free.
  void count(HostOffset offset, std::uint64_t bytes, std::uint64_t times, Findings& findings);
  /// As count(), but the part of the range inside the file is counted whatever its end: a compressed cluster's length
  /// is an upper bound, so its data may be whole.
  void count_packed(HostOffset offset, std::uint64_t bytes, std::uint64_t times, Findings& findings);
  /// Notes where a damaged entry leads. Nothing is counted, but repairs put nothing new there.
  void keep_free(HostOffset offset, std::uint64_t bytes);
  /// Whether count() counts the range.
  [[nodiscard]] bool is_countable(HostOffset offset, std::uint64_t bytes) const {
    // The last cluster may be there in part, so a reference may reach less than a cluster past the end.
    return fits(offset.value, bytes, file_size_ + ((1ULL << cluster_bits_) - 1));
  }
  void count_as_l2(std::uint64_t cluster, std::uint64_t times) { as_l2_.add(cluster, times); }

  [[nodiscard]] ReferenceTally& references() { return references_; }
  [[nodiscard]] const ReferenceTally& references() const { return references_; }
  [[nodiscard]] ReferenceTally& l2_tables() { return as_l2_; }
  /// Host clusters of the file, and those behind its end that were counted all the same.
  [[nodiscard]] std::uint64_t clusters() const { return clusters_; }
  /// Whether an L2 table at `cluster` is nothing but that: only then may a repair write to it.
  [[nodiscard]] bool is_only_l2(std::uint64_t cluster) const {
    return as_l2_.get(cluster) != 0 && as_l2_.get(cluster) == references_.get(cluster) && kept_free_.get(cluster) == 0;
  }
  /// Whether nobody refers to `cluster`, not even a damaged entry.
  [[nodiscard]] bool is_free(std::uint64_t cluster) const {
    return references_.get(cluster) == 0 && kept_free_.get(cluster) == 0;
  }

 private:
  void add(std::uint64_t first, std::uint64_t end, std::uint64_t times);

  const std::uint64_t file_size_;
  const std::uint32_t cluster_bits_;
  std::uint64_t clusters_;
  ReferenceTally references_;
  ReferenceTally as_l2_;  // of the references, those from L1 entries
  ReferenceTally kept_free_;
};

}  // namespace penstock::qcow2
