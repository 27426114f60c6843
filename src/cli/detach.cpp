// SPDX-License-Identifier: Apache-2.0
/// penstock detach: ends what `attach` began, and returns when the image is closed.
#include "cli/attach_place.hpp"
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/device_users.hpp"
#include "cli/end_mount.hpp"
#include "cli/loop_device.hpp"

#include "base/text.hpp"
#include "fuse/mountpoint.hpp"

#include <unistd.h>

#include <memory>
#include <optional>
#include <thread>

namespace penstock::cli {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

struct Flags : EndFlags {
  std::string device;
};

Failure in_use(const std::string& name, std::string_view what) {
  return fail(EBUSY, concat("/dev/", name, ": is in use: ", what));
}

/// Programs that look at every new or changed device (udev) hold it for a moment.
Result<HeldLoop> hold_unused(const std::string& name) {
  constexpr milliseconds kPatience{5000};
  constexpr milliseconds kPause{50};
  const auto give_up = Clock::now() + kPatience;
  for (;;) {
    const bool last = Clock::now() > give_up;
    auto held = HeldLoop::hold(name);
    std::optional<std::string> user;
    if (held) {
      // Now nobody can mount it. A process that merely has it open would lose what it writes next.
      user = opener_of_device(name);
      if (!user) return held;
      if (last) return in_use(name, *user);
    } else {
      if (!held.error().is(EBUSY)) return held;
      if (const auto holder = holder_of_device(name)) return in_use(name, *holder);
      if (last) return in_use(name, "the kernel does not say by what");
    }
    std::this_thread::sleep_for(kPause);
  }
}

/// The mount whose daemon has died, or that was ended by a signal: what is left of it is cleared away.
Result<int> clear_dead(const std::string& name, const std::string& directory, const Error& reason) {
  auto held = TRY(hold_unused(name));
  TRY(held.detach(std::chrono::seconds(30)));
  clear_place(directory);
  // What to do about a dead mount has been done.
  const std::string why = reason.is(ENOTCONN) ? "" : concat(" (", reason.message(), ")");
  return fail(ECONNABORTED, concat("/dev/", name, ": detached, but its daemon was gone", why,
                                   "; what was synced is in the image, later writes may be lost"));
}

/// After a mere 'losetup -d' nothing tells which image the device had; but what is mounted for no device can be named.
std::string what_stays_mounted() {
  std::string out;
  for (const std::string& view : views_without_device()) {
    out += concat(out.empty() ? "; mounted without a device, to be ended by 'penstock umount': " : ", ", view);
  }
  return out;
}

Result<int> detach(const Flags& flags, std::optional<milliseconds> deadline) {
  const std::string name = TRY(loop_name(flags.device));
  const auto label = TRY(loop_label(name));
  if (!label) return fail(ENXIO, concat(flags.device, ": is not attached to anything", what_stays_mounted()));
  const auto directory = attach_directory_of(*label, TRY(control::runtime_directory()));
  if (!directory) {
    return fail(EINVAL, concat(flags.device, ": was not attached by 'penstock attach', but to ", *label,
                               "; use 'losetup -d ", flags.device, "'"));
  }
  if (const auto holder = holder_of_device(name)) return in_use(name, *holder);
  auto daemon = Daemon::reach(view_in(*directory).value_or(*directory));
  if (!daemon) return clear_dead(name, *directory, daemon.error());
  const EndPlan plan = TRY(before_end(*daemon, flags, deadline));
  auto held = TRY(hold_unused(name));
  TRY(held.flush());
  TRY(held.detach(std::chrono::seconds(30)));
  // The kernel lets go of the view a moment after it has let go of the device.
  auto ended = end_mount(*daemon, flags, plan, std::chrono::seconds(10));
  if (!ended && fuse::mount_at(fuse::read_mounts(), daemon->mountpoint())) {
    return Failure(ended.error().in(concat(flags.device, ": detached, but not unmounted")));
  }
  clear_place(*directory);
  return ended;
}

int run_detach(const Flags& flags) {
  const auto deadline = deadline_of(flags);
  if (!deadline) return usage_error("detach", deadline.error().message());
  if (geteuid() != 0) {
    print_error("detach: loop devices are for root; run it as root");
    return kFailure;
  }
  const auto status = detach(flags, *deadline);
  return status ? *status : report(status.error());
}

}  // namespace

Command detach_command() {
  auto flags = std::make_shared<Flags>();
  Command command{.name = "detach",
                  .help = "End an attach, and wait until its image is flushed and closed",
                  .options = end_options(*flags),
                  .run = runs(run_detach, flags)};
  command.options.push_back({"device", "DEVICE", &flags->device, "What 'penstock attach' printed", {.required = true}});
  return command;
}

}  // namespace penstock::cli
