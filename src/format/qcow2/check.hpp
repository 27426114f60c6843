// SPDX-License-Identifier: Apache-2.0
/// Checking and repairing an image that is not in use. Source: penstock-formats(5), "qcow2: check and repair".
#pragma once

#include <penstock/format.hpp>

namespace penstock::qcow2 {

/// Format::check.
[[nodiscard]] Result<CheckReport> check(std::shared_ptr<Storage> storage, const FormatOpenOptions& open,
                                        const CheckOptions& options);

/// Before an image with the dirty bit is opened for writing: rebuilds its refcounts (errors and leaks) and clears the
/// bit, durably. Errors: EUCLEAN when damage is left that cannot be mended.
[[nodiscard]] Result<> repair_dirty(const std::shared_ptr<Storage>& storage, const FormatOpenOptions& open);

}  // namespace penstock::qcow2
