// SPDX-License-Identifier: Apache-2.0
/// penstock stream: drives the job that copies what an image lacks from its backing file.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/daemon.hpp"
#include "cli/duration.hpp"
#include "cli/job_wait.hpp"
#include "cli/size.hpp"

#include "base/real_path.hpp"
#include "base/text.hpp"

#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace penstock::cli {

namespace {

using std::chrono::milliseconds;

struct Flags {
  std::string action;
  std::vector<std::string> words;  ///< the mountpoint; with `speed`, the speed before it
  std::string speed;
  std::string base;
  std::string on_error;
  std::string deadline;
  bool quiet = false;
};

/// What the command line asks for, once it makes sense.
struct Request {
  std::string action;
  std::string mountpoint;
  std::optional<std::uint64_t> speed;
  std::string base;
  std::string on_error;
  std::optional<milliseconds> deadline;
  bool quiet = false;
};

Result<Request> interpret(const Flags& flags) {
  Request request{.action = flags.action,
                  .mountpoint = flags.words.back(),
                  .base = flags.base,
                  .on_error = flags.on_error,
                  .quiet = flags.quiet};
  const bool speed_action = flags.action == "speed";
  if (flags.words.size() != (speed_action ? 2U : 1U)) {
    return fail(EINVAL, speed_action ? "speed needs a speed and a mountpoint"
                                     : concat(flags.action, " needs a mountpoint and nothing else"));
  }
  if (flags.action != "start") {
    for (const auto& [flag, value] : {std::pair{"--speed", &flags.speed}, std::pair{"--base", &flags.base},
                                      std::pair{"--on-error", &flags.on_error}}) {
      if (!value->empty()) return fail(EINVAL, concat(flag, " goes with start"));
    }
  }
  if (flags.action != "wait" && !flags.deadline.empty()) return fail(EINVAL, "--deadline goes with wait");
  if (const std::string& speed = speed_action ? flags.words.front() : flags.speed; !speed.empty()) {
    request.speed = TRY(parse_size(speed));
  }
  if (!flags.deadline.empty()) request.deadline = TRY(parse_duration(flags.deadline));
  return request;
}

Result<> start(Daemon& daemon, const Request& request) {
  JobWish wish{.speed = request.speed, .on_error = request.on_error};
  // The daemon has a working directory of its own. A name that is none of a file may be as an overlay has it.
  if (!request.base.empty()) wish.base = real_path(request.base).value_or(request.base);
  return daemon.start_job(wish);
}

/// Returns when the step in hand is over, so that another job may be started.
Result<> stop(Daemon& daemon) {
  TRY(daemon.cancel_job());
  for (;;) {
    const StatusFacts facts = TRY(daemon.status());
    if (!facts.job || facts.job->ended()) return {};
    std::this_thread::sleep_for(milliseconds(20));
  }
}

Result<> wait(Daemon& daemon, const Request& request) {
  const Waited waited =
      TRY(wait_for_job(daemon, {.deadline = request.deadline, .progress = progress_wish(request.quiet, true)}));
  const auto failed = [&](std::string_view why) { return fail(ECANCELED, concat(daemon.mountpoint(), ": ", why)); };
  if (waited.why == WaitEnd::deadline) return failed("the deadline has passed; the stream goes on");
  if (waited.why == WaitEnd::interrupted) return failed("stopped waiting; the stream goes on");
  const std::string why = why_not_done(waited.job);
  if (!why.empty()) return failed(why);
  return {};
}

Result<> act(const Request& request) {
  Daemon daemon = TRY(Daemon::reach(request.mountpoint));
  if (request.action == "start") return start(daemon, request);
  if (request.action == "wait") return wait(daemon, request);
  const StatusFacts facts = TRY(daemon.status());
  if (!facts.job || facts.job->ended()) {
    return fail(EINVAL, concat(request.mountpoint, ": no streaming job is running"));
  }
  if (request.action == "stop") return stop(daemon);
  if (request.action == "pause") return daemon.pause_job();
  if (request.action == "resume") return daemon.resume_job();
  return daemon.set_job_speed(request.speed.value_or(0));
}

int run_stream(const Flags& flags) {
  const auto request = interpret(flags);
  if (!request) return usage_error("stream", request.error().message());
  const auto done = act(*request);
  return done ? kSuccess : report(done.error());
}

}  // namespace

Command stream_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "stream",
          .help = "Start, stop and steer the copying from the backing file",
          .options =
              {
                  {"action",
                   "ACTION",
                   &flags->action,
                   "start, stop, pause, resume, speed or wait",
                   {.choices = {"start", "stop", "pause", "resume", "speed", "wait"}, .required = true}},
                  {"mountpoint",
                   "MOUNTPOINT",
                   &flags->words,
                   "Where the image is mounted; with speed, the bytes a second before it",
                   {.required = true, .first_word = "speed", .value_before = "SPEED"}},
                  {"--speed", "SIZE", &flags->speed, "start: copy at most so many bytes a second"},
                  {"--base", "FILE", &flags->base, "start: keep this layer and all below it"},
                  {"--on-error",
                   "POLICY",
                   &flags->on_error,
                   "start: on an error report (and end), retry, or stop (pause)",
                   {.choices = {"report", "retry", "stop"}}},
                  {"--deadline", "TIME", &flags->deadline, "wait: no longer than this, as 90, 30s, 5m or 2h"},
                  {"-q,--quiet", "", &flags->quiet, "wait: show no progress"},
              },
          .run = runs(run_stream, flags)};
}

}  // namespace penstock::cli
