// SPDX-License-Identifier: Apache-2.0
/// Which host clusters hold metadata: what no guest write may touch and no allocation may hand out.
#pragma once

#include "format/cluster_set.hpp"

namespace penstock::qcow2 {

/// Guarded by the driver's metadata lock.
struct Metadata {
  ClusterSet fixed;      ///< header, L1, refcount table and blocks, snapshot table and L1s, bitmaps, crypto header
  ClusterSet l2_tables;  ///< L2 tables that the active L1 names

  [[nodiscard]] bool contains(std::uint64_t cluster) const {
    return fixed.contains(cluster) || l2_tables.contains(cluster);
  }
  [[nodiscard]] bool overlaps(std::uint64_t first, std::uint64_t count) const {
    return fixed.overlaps(first, count) || l2_tables.overlaps(first, count);
  }
};

}  // namespace penstock::qcow2
