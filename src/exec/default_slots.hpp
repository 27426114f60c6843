// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <thread>

namespace penstock {

/// Slots spend most of their time waiting for disks, so there are more of them than cores; behind 32 more threads only
/// cost memory.
[[nodiscard]] inline unsigned default_slots() {
  return std::clamp(2 * std::thread::hardware_concurrency(), 4U, 32U);
}

}  // namespace penstock
