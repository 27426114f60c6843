// SPDX-License-Identifier: Apache-2.0
/// Waiting for a mount's streaming job, with a progress bar.
#pragma once

#include "cli/daemon.hpp"
#include "cli/progress.hpp"

#include <chrono>
#include <optional>

namespace penstock::cli {

enum class WaitEnd : std::uint8_t {
  ended,        ///< done, cancelled or failed: the job says which
  stuck,        ///< paused by an error, and nobody resumes it
  deadline,     ///< the time has passed
  interrupted,  ///< ^C
};

struct WaitOptions {
  std::optional<std::chrono::milliseconds> deadline;
  ShowProgress progress = ShowProgress::always;
  bool until_stuck = false;  ///< do not wait for somebody to resume what an error paused
};

struct Waited {
  WaitEnd why = WaitEnd::ended;
  JobFacts job;  ///< as it was last
};

/// Errors: EINVAL when there is no job, and the daemon's.
[[nodiscard]] Result<Waited> wait_for_job(Daemon& daemon, const WaitOptions& options);

/// "streaming failed: base.img: Input/output error"; empty for a job that is done or under way.
[[nodiscard]] std::string why_not_done(const JobFacts& job);

}  // namespace penstock::cli
