// SPDX-License-Identifier: Apache-2.0
/// penstock umount: unmounts, and returns when the image is closed; or first lets the streaming job finish.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/daemon.hpp"
#include "cli/duration.hpp"
#include "cli/human.hpp"
#include "cli/job_wait.hpp"
#include "cli/umount_steps.hpp"

#include "base/text.hpp"

#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <memory>
#include <optional>

namespace penstock::cli {

namespace {

struct Flags {
  std::string mountpoint;
  bool wait = false;
  std::string deadline;
  bool discard_map = false;
  bool quiet = false;
};

/// The image's path byte for byte; JSON cannot carry every one.
Result<std::string> image_path(const std::string& mountpoint) {
  std::array<char, PATH_MAX> value;
  const ssize_t length = getxattr(mountpoint.c_str(), "user.penstock.image", value.data(), value.size());
  if (length < 0) return system_failure(mountpoint);
  return std::string(value.data(), static_cast<std::size_t>(length));
}

/// Gives what the last line is to say beside the daemon's words: why the job did not finish. Errors: the mount stays.
Result<std::string> let_finish(Daemon& daemon, std::optional<std::chrono::milliseconds> deadline, bool quiet) {
  const StatusFacts facts = TRY(daemon.status());
  switch (first_step(facts)) {
    case FirstStep::none:
      return std::string();
    case FirstStep::start:
      TRY(daemon.job("block-stream"));
      break;
    case FirstStep::resume:
      TRY(daemon.job("block-job-resume"));
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
  return why_not_done(*waited.last.job);
}

Result<int> unmount(const Flags& flags, std::optional<std::chrono::milliseconds> deadline) {
  Daemon daemon = TRY(Daemon::reach(flags.mountpoint));
  std::string map;
  if (flags.discard_map) {
    const std::string why = why_map_stays(TRY(daemon.status()), flags.wait);
    if (!why.empty()) return fail(EINVAL, concat(flags.mountpoint, ": ", why));
    map = TRY(image_path(flags.mountpoint));
  }
  std::string note;
  if (flags.wait) note = TRY(let_finish(daemon, deadline, flags.quiet));
  const Json answer = TRY(daemon.execute("quit"));
  const Ending ending = TRY(ending_of(answer));
  bool all_done = !flags.wait || (ending.outcome != "incomplete" && note.empty());
  std::string line = ending.message.empty() ? concat(flags.mountpoint, ": unmounted") : ending.message;
  if (!note.empty()) line += concat(" (", note, ")");
  std::optional<Error> problem;
  if (flags.discard_map && ending.outcome == "complete") {
    if (unlink(map.c_str()) == 0) {
      line += "; the add-cow file is deleted";
    } else {
      problem = system_failure(concat(map, ": cannot be deleted")).error();
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

int run_umount(const Flags& flags) {
  std::optional<std::chrono::milliseconds> deadline;
  if (!flags.deadline.empty()) {
    const auto time = parse_duration(flags.deadline);
    if (!time) return usage_error("umount", concat("--deadline: ", time.error().message()));
    deadline = *time;
  }
  const auto status = unmount(flags, deadline);
  return status ? *status : report(status.error());
}

}  // namespace

void add_umount(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("umount", "Unmount an image and wait until it is flushed and closed");
  CLI::Option* wait = command->add_flag("--wait", flags->wait, "First copy what the image lacks from its backing file");
  command->add_option("--deadline", flags->deadline, "With --wait: no longer than this, as 90, 30s, 5m or 2h")
      ->type_name("TIME")
      ->needs(wait);
  command->add_flag("-q,--quiet", flags->quiet, "Print nothing when all went well");
  command->add_flag("--discard-map", flags->discard_map,
                    "Delete the add-cow file of an image whose raw file was completed");
  command->add_option("mountpoint", flags->mountpoint, "Where the image is mounted")
      ->type_name("MOUNTPOINT")
      ->required();
  command->callback([flags, &chosen] { chosen.run = [flags] { return run_umount(*flags); }; });
}

}  // namespace penstock::cli
