// SPDX-License-Identifier: Apache-2.0
/// Making a qcow2 image. Source: penstock-formats(5), "qcow2: overall layout".
#pragma once

#include "format/qcow2/create_options.hpp"

namespace penstock::qcow2 {

/// Where everything of a new image lies: header, refcount table, refcount blocks, L1 table, then, when preallocated,
/// L2 tables and data clusters, one after the other without gaps.
struct NewLayout {
  std::uint64_t refcount_table_clusters = 0;
  std::uint64_t refcount_blocks = 0;
  std::uint64_t l1_entries = 0;
  std::uint64_t l1_clusters = 0;
  std::uint64_t l2_tables = 0;
  std::uint64_t guest_clusters = 0;  ///< mapped from the start; 0 without preallocation
  std::uint64_t data_clusters = 0;   ///< of them in the image itself

  [[nodiscard]] std::uint64_t first_refcount_block() const { return 1 + refcount_table_clusters; }
  [[nodiscard]] std::uint64_t first_l1() const { return first_refcount_block() + refcount_blocks; }
  [[nodiscard]] std::uint64_t first_l2() const { return first_l1() + l1_clusters; }
  [[nodiscard]] std::uint64_t first_data() const { return first_l2() + l2_tables; }
  [[nodiscard]] std::uint64_t clusters() const { return first_data() + data_clusters; }
};

/// Format::plan_create. Errors: of read_create_options(); ENOSPC when the names do not fit the header cluster.
[[nodiscard]] Result<std::unique_ptr<CreatePlan>> plan_create(const CreateRequest& request);

}  // namespace penstock::qcow2
