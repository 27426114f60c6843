// SPDX-License-Identifier: Apache-2.0
/// penstock status --watch
#pragma once

#include "cli/daemon.hpp"

#include <chrono>

namespace penstock::cli {

/// Redraws the status of a mount on the terminal that is standard output, until q, ^C, or the end of the mount; the
/// terminal is left as it was found. Errors: ENOTTY, and the daemon's.
[[nodiscard]] Result<> watch(Daemon& daemon, std::chrono::milliseconds interval);

}  // namespace penstock::cli
