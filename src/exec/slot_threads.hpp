// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace penstock {

/// Slots spend most of their time waiting for disks, so there are more of them than cores; behind 32 more threads only
/// cost memory.
[[nodiscard]] inline unsigned slots_for_cores() {
  return std::clamp(2 * std::thread::hardware_concurrency(), 4U, 32U);
}

/// The calling thread gives way to threads of normal priority, but is not starved by them: it may hold clusters that a
/// request waits for. For good: raising it again would need a privilege.
inline void yield_to_others() {
  constexpr int kNice = 10;
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
}

}  // namespace penstock
