// SPDX-License-Identifier: Apache-2.0
#include "cli/job_wait.hpp"

#include "cli/end_request.hpp"
#include "cli/progress.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <utility>

namespace penstock::cli {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

bool is_stuck(const JobFacts& job) {
  return job.state == "paused" && !job.error.empty();
}

}  // namespace

Result<Waited> wait_for_job(Daemon& daemon, const WaitOptions& options) {
  // Short jobs are seen to end soon, long ones cost the daemon little.
  constexpr milliseconds kPauseMax{100};
  milliseconds pause{25};
  const auto began = Clock::now();
  EndRequest end;
  ProgressBar bar("streaming", options.progress);
  for (;;) {
    const auto found = TRY(daemon.job_facts());
    if (!found) return fail(EINVAL, concat(daemon.mountpoint(), ": no streaming job was started"));
    const JobFacts& job = *found;
    bar.update(job.data, job.data_in_the_end(), job.rate, job.seconds_left(), job.obstacle());
    const auto finish = [&](WaitEnd why) {
      bar.finish();
      return Waited{.why = why, .job = job};
    };
    if (job.ended()) return finish(WaitEnd::ended);
    if (options.until_stuck && is_stuck(job)) return finish(WaitEnd::stuck);
    milliseconds time = pause;
    if (options.deadline) {
      const auto left = std::chrono::ceil<milliseconds>(began + *options.deadline - Clock::now());
      if (left.count() <= 0) return finish(WaitEnd::deadline);
      time = std::min(time, left);
    }
    if (end.wait(time) == EndRequest::Woken::end) return finish(WaitEnd::interrupted);
    pause = std::min(pause * 2, kPauseMax);
  }
}

std::string why_not_done(const JobFacts& job) {
  const std::string reason = job.error.empty() ? "" : concat(": ", job.error);
  if (job.state == "failed") return concat("streaming failed", reason);
  if (job.state == "cancelled") return "streaming was cancelled";
  if (is_stuck(job)) return concat("streaming is paused after an error", reason);
  return {};
}

}  // namespace penstock::cli
