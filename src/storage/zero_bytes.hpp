// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/storage.hpp>

namespace penstock {

/// Writes zero bytes into `range`, whatever else the storage could do to make it read as zero. Errors: the storage's.
[[nodiscard]] Result<> write_zero_bytes(Storage& storage, HostRange range);

/// The same for long ranges: tells how far it is by tell_work().
[[nodiscard]] Result<> fill_with_zero_bytes(Storage& storage, HostRange range);

}  // namespace penstock
