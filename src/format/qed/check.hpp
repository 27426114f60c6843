// SPDX-License-Identifier: Apache-2.0
/// Checking and repairing a QED image that is not in use. Source: penstock-formats(5), "QED: check and repair".
#pragma once

#include <penstock/format.hpp>

namespace penstock::qed {

/// Format::check.
[[nodiscard]] Result<CheckReport> check(std::shared_ptr<Storage> storage, const FormatOpenOptions& open,
                                        const CheckOptions& options);

/// Before an image with NEED_CHECK is opened for writing: clears entries that lead nowhere, cuts off clusters behind
/// the last one in use, and clears the bit, durably. Gives the clusters between that nobody refers to: the format
/// cannot say that they are free, but who has the image open can use them. Errors: EUCLEAN when damage is left that
/// cannot be mended.
[[nodiscard]] Result<std::vector<HostRange>> repair_after_crash(const std::shared_ptr<Storage>& storage);

}  // namespace penstock::qed
