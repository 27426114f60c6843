// SPDX-License-Identifier: Apache-2.0
#include "cli/end_mount.hpp"

#include "cli/common.hpp"
#include "cli/duration.hpp"
#include "cli/human.hpp"
#include "cli/job_wait.hpp"
#include "cli/umount_steps.hpp"

#include "base/text.hpp"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <thread>

namespace penstock::cli {

namespace {

using std::chrono::milliseconds;

/// The image's path byte for byte; JSON cannot carry every one.
Result<std::string> image_path(const std::string& mountpoint) {
  std::array<char, PATH_MAX> value;
  const ssize_t length = getxattr(mountpoint.c_str(), "user.penstock.image", value.data(), value.size());
  if (length < 0) return system_failure(mountpoint);
  return std::string(value.data(), static_cast<std::size_t>(length));
}

/// Gives what the last line is to say beside the daemon's words: why the job did not finish. Errors: the mount stays.
Result<std::string> let_finish(Daemon& daemon, std::optional<milliseconds> deadline, bool quiet) {
  const StatusFacts facts = TRY(daemon.status());
  switch (first_step(facts)) {
    case FirstStep::none:
      return facts.read_only && facts.layers.size() > 1 ? "mounted read-only: it still needs its backing file"
                                                        : std::string();
    case FirstStep::start:
      TRY(daemon.start_job());
      break;
    case FirstStep::resume:
      TRY(daemon.resume_job());
      break;
    case FirstStep::wait:
      break;
  }
  const Waited waited = TRY(wait_for_job(
      daemon,
      {.deadline = deadline, .progress = quiet ? ShowProgress::never : ShowProgress::always, .until_stuck = true}));
  if (waited.why == WaitEnd::interrupted) {
    return fail(EINTR, concat(daemon.mountpoint(), ": stopped waiting; it is still mounted, and the stream goes on"));
  }
  if (waited.why == WaitEnd::deadline) return std::string("the deadline has passed");
  return why_not_done(waited.job);
}

/// Not what somebody has put in the file's place meanwhile.
Result<> delete_map(const EndPlan& plan) {
  const std::string name = printable(plan.map);
  struct stat now{};
  if (lstat(plan.map.c_str(), &now) != 0) return system_failure(concat(name, ": cannot be deleted"));
  if (now.st_dev != plan.map_device || now.st_ino != plan.map_inode) {
    return fail(ESTALE, concat(name, ": not deleted, for it is not the file that was mounted"));
  }
  if (unlink(plan.map.c_str()) != 0) return system_failure(concat(name, ": cannot be deleted"));
  return {};
}

Result<Ending> quit(Daemon& daemon, milliseconds patience) {
  const auto give_up = std::chrono::steady_clock::now() + patience;
  for (;;) {
    auto ending = daemon.quit();
    if (!ending && ending.error().is(ETIMEDOUT)) {
      return fail(ETIMEDOUT, concat(daemon.mountpoint(), ": has not ended in time; the daemon goes on with it"));
    }
    // The daemon has refused, and goes on; without an answer it is gone.
    if (ending || !ending.error().is(EREMOTEIO) || std::chrono::steady_clock::now() > give_up) return ending;
    std::this_thread::sleep_for(milliseconds(20));
  }
}

}  // namespace

std::vector<Option> end_options(EndFlags& flags) {
  return {
      {"--wait", "", &flags.wait, "First copy what the image lacks from its backing file"},
      {"--deadline", "TIME", &flags.deadline,
       "Wait no longer than this, as 90, 30s, 5m or 2h; with --wait for the copying, else for the end"},
      {"-q,--quiet", "", &flags.quiet, "Print nothing when all went well"},
      {"--discard-map", "", &flags.discard_map, "Delete the add-cow file of an image whose raw file was completed"},
  };
}

Result<std::optional<milliseconds>> deadline_of(const EndFlags& flags) {
  if (flags.deadline.empty()) return std::nullopt;
  const auto time = parse_duration(flags.deadline);
  if (!time) return Failure(time.error().in("--deadline"));
  return *time;
}

Result<EndPlan> before_end(Daemon& daemon, const EndFlags& flags, std::optional<milliseconds> deadline) {
  EndPlan plan;
  if (flags.discard_map) {
    const StatusFacts facts = TRY(daemon.status());
    const std::string why = why_map_stays(facts, flags.wait);
    if (!why.empty()) return fail(EINVAL, concat(daemon.mountpoint(), ": ", why));
    plan.map = TRY(image_path(daemon.mountpoint()));
    plan.map_device = facts.device;
    plan.map_inode = facts.inode;
  }
  if (flags.wait) {
    plan.note = TRY(let_finish(daemon, deadline, flags.quiet));
  } else if (deadline) {
    daemon.set_deadline(std::chrono::steady_clock::now() + *deadline);
  }
  return plan;
}

Result<int> end_mount(Daemon& daemon, const EndFlags& flags, const EndPlan& plan, milliseconds patience) {
  const Ending ending = TRY(quit(daemon, patience));
  bool all_done = !flags.wait || (ending.outcome != "incomplete" && plan.note.empty());
  std::string line = ending.message.empty() ? concat(daemon.mountpoint(), ": unmounted") : ending.message;
  if (!plan.note.empty()) line += concat(" (", plan.note, ")");
  std::optional<Error> problem;
  if (flags.discard_map && ending.outcome == "complete") {
    if (const auto deleted = delete_map(plan)) {
      line += "; the add-cow file is deleted";
    } else {
      problem = deleted.error();
    }
  } else if (flags.discard_map) {
    line += "; the add-cow file stays";
    all_done = false;
  }
  // A failure is told all the same.
  if (!flags.quiet || !all_done) print(concat(line, '\n'));
  if (const int status = finish_output(kSuccess); status != kSuccess) return status;
  if (problem) return Failure(*problem);
  return all_done ? kSuccess : kFailure;
}

}  // namespace penstock::cli
