// SPDX-License-Identifier: Apache-2.0
/// The seccomp filters of the daemon.
#pragma once

#include <cstdint>

namespace penstock::fuse {

enum class Refused : std::uint8_t {
  before_opening,  ///< what no part of a daemon's life needs
  while_serving,   ///< also programs, mounts, changes of owners and modes, signals to others
};

/// From now on these system calls fail with EPERM, for this thread and all that it makes. A list of what is refused,
/// not of what is allowed: a system library that learns a new call must not break a mount that holds somebody's data.
/// False: the kernel has no seccomp, or does not let us.
[[nodiscard]] bool refuse_calls(Refused which, bool network, bool rings);

}  // namespace penstock::fuse
