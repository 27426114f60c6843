// SPDX-License-Identifier: Apache-2.0
/// Checking and repairing an image that is not in use. Source: penstock-formats(5), "qcow2: check and repair".
///
/// Files: table_scan counts what the tables refer to (cluster_use, reference_tally), stored_refcounts compares that
/// with what the image stores, entry_repair and refcount_rebuild mend it, check.cpp says in which order.
#pragma once

#include <penstock/format.hpp>

namespace penstock::qcow2 {

/// Format::check. Counts as qemu-img check does, and besides what QEMU does not look at: zero clusters in version 2,
/// entries marked as allocated without a cluster, the zero flag with extended L2, offsets in external data files.
/// Repairs never write to a cluster that the guest's data may lie in, nor to a table that overlaps anything else; a
/// crash in the middle leaves no more damage than there was. What could not be examined is a check error in the report.
/// Errors: of read_header(); EIO and ENOSPC of a repair.
[[nodiscard]] Result<CheckReport> check(std::shared_ptr<Storage> storage, const FormatOpenOptions& open,
                                        const CheckOptions& options);

/// Before an image with the dirty bit is opened for writing: mends its refcounts (errors and leaks) and clears the bit,
/// durably. The refcount table may lie elsewhere afterwards: read the header again. Damaged entries that cannot be
/// mended stay, as in an image that is not dirty. Errors: EUCLEAN when the image could not be examined; EIO, ENOSPC.
[[nodiscard]] Result<> repair_dirty(const std::shared_ptr<Storage>& storage, const FormatOpenOptions& open);

/// After a mount that was killed: frees clusters that nobody refers to. Damage is left to `check`. Errors: EIO.
[[nodiscard]] Result<> give_back_leaks(const std::shared_ptr<Storage>& storage);

}  // namespace penstock::qcow2
