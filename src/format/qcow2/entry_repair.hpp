// SPDX-License-Identifier: Apache-2.0
/// Repairs inside L2 tables and the L1 table, where the check knows what an entry should be.
#pragma once

#include "format/qcow2/stored_refcounts.hpp"

namespace penstock::qcow2 {

/// Makes entries plain zeroes that map zeroes to a misaligned place, in every L2 table that is nothing but an L2 table:
/// a table that lies over something else must not be written to. Durable.
[[nodiscard]] Result<> repair_misaligned_zeroes(TableReader& reader, const Header& header, ClusterUse& use,
                                                Findings& findings);

/// Compares the COPIED flags of the active tables with the stored refcounts (with an external data file: they must be
/// set), and corrects them when `repair` says so, durably.
[[nodiscard]] Result<> check_copied_flags(TableReader& reader, const Header& header, const ClusterUse& use,
                                          StoredRefcounts& stored, bool repair, Findings& findings);

}  // namespace penstock::qcow2
