// SPDX-License-Identifier: Apache-2.0
/// penstock umount: unmounts, and returns when the image is closed; or first lets the streaming job finish.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/end_mount.hpp"

#include <memory>

namespace penstock::cli {

namespace {

struct Flags : EndFlags {
  std::string mountpoint;
};

Result<int> unmount(const Flags& flags, std::optional<std::chrono::milliseconds> deadline) {
  Daemon daemon = TRY(Daemon::reach(flags.mountpoint));
  const EndPlan plan = TRY(before_end(daemon, flags, deadline));
  return end_mount(daemon, flags, plan, std::chrono::milliseconds(0));
}

int run_umount(const Flags& flags) {
  const auto deadline = deadline_of(flags);
  if (!deadline) return usage_error("umount", deadline.error().message());
  const auto status = unmount(flags, *deadline);
  return status ? *status : report(status.error());
}

}  // namespace

Command umount_command() {
  auto flags = std::make_shared<Flags>();
  Command command{.name = "umount",
                  .help = "Unmount an image and wait until it is flushed and closed",
                  .options = end_options(*flags),
                  .run = runs(run_umount, flags)};
  command.options.push_back(
      {"mountpoint", "MOUNTPOINT", &flags->mountpoint, "Where the image is mounted", {.required = true}});
  return command;
}

}  // namespace penstock::cli
