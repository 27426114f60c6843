// SPDX-License-Identifier: Apache-2.0
/// Whether bytes are all zero.
#pragma once

#include <cstddef>
#include <span>

namespace penstock {

/// Whether every byte is zero; true for none. Any alignment, any length. Stops at the first block that is not.
[[nodiscard]] bool is_all_zero(std::span<const std::byte> bytes);

}  // namespace penstock
