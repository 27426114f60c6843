// SPDX-License-Identifier: Apache-2.0
#include "cli/common.hpp"
#include "cli/daemon.hpp"
#include "cli/human.hpp"
#include "cli/mount_helper.hpp"
#include "cli/umount_steps.hpp"

#include "base/real_path.hpp"
#include "base/text.hpp"
#include "fuse/mountpoint.hpp"

#include <sys/mount.h>

namespace penstock::cli {

namespace {

struct UmountCall {
  std::string mountpoint;
  bool lazy = false;
  bool force = false;
  bool verbose = false;
};

Result<UmountCall> read_umount_call(const std::vector<std::string>& words) {
  UmountCall call;
  for (std::size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    // umount(8) puts the mountpoint first, as an absolute path; by hand it is given in either order.
    if (!word.starts_with('-')) {
      if (!call.mountpoint.empty()) return fail(EINVAL, concat("umount: '", word, "' is one name too many"));
      call.mountpoint = word;
    } else if (word == "-t") {
      ++at;
    } else if (word.size() > 1 && word.find_first_not_of("flnrv", 1) == std::string::npos) {
      call.lazy |= word.find('l') != std::string::npos;
      call.force |= word.find('f') != std::string::npos;
      call.verbose |= word.find('v') != std::string::npos;
    } else {
      return fail(EINVAL, concat("umount: unknown flag '", word, "'"));
    }
  }
  if (call.mountpoint.empty()) return fail(EINVAL, "usage: umount.penstock MOUNTPOINT [-flnrv]");
  return call;
}

/// What umount(8) would do itself.
Result<> unmount_only(const UmountCall& call) {
  const int flags = UMOUNT_NOFOLLOW | (call.lazy ? MNT_DETACH : 0) | (call.force ? MNT_FORCE : 0);
  if (umount2(call.mountpoint.c_str(), flags) == 0) return {};
  const int number = errno;
  const auto mounts = fuse::read_mounts();
  const auto mount = fuse::mount_at(mounts, call.mountpoint);
  const auto resolved = real_path(call.mountpoint);
  if (number == EINVAL && !mount && resolved && !fuse::mount_at(mounts, *resolved)) {
    return fail(EINVAL, concat(call.mountpoint, ": no file system is mounted there"));
  }
  if (number != EPERM || !mount) return system_failure(concat(call.mountpoint, ": cannot unmount"), number);
  return fuse::unmount(*mount, call.lazy ? fuse::Unmount::detach : fuse::Unmount::unless_busy);
}

Result<> unmount(const UmountCall& call) {
  if (call.lazy || call.force) return unmount_only(call);
  auto daemon = Daemon::reach(call.mountpoint);
  // Dead, or another user's: the mount can go all the same.
  if (!daemon) return unmount_only(call);
  const Ending ending = TRY(daemon->quit());
  if (call.verbose) print(concat(ending.message, '\n'));
  return {};
}

}  // namespace

int run_umount_helper(const std::vector<std::string>& words) {
  const auto call = read_umount_call(words);
  if (!call) {
    print_error(call.error().message());
    return mount_exit_status(kUsage);
  }
  const auto done = unmount(*call);
  return mount_exit_status(done ? finish_output(kSuccess) : report(done.error()));
}

}  // namespace penstock::cli
