// SPDX-License-Identifier: Apache-2.0
/// What `umount` and `detach` share: letting the streaming job finish, and ending a mount with a word about the image.
#pragma once

#include "cli/command.hpp"
#include "cli/daemon.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace penstock::cli {

struct EndFlags {
  bool wait = false;
  std::string deadline;
  bool discard_map = false;
  bool quiet = false;
};

/// --wait, --deadline, --quiet, --discard-map
[[nodiscard]] std::vector<Option> end_options(EndFlags& flags);

/// --deadline as a time. Errors: usage.
[[nodiscard]] Result<std::optional<std::chrono::milliseconds>> deadline_of(const EndFlags& flags);

/// What was found and done while the image was still mounted.
struct EndPlan {
  std::string note;              ///< why the job did not finish; empty: it did, or nothing was to be waited for
  std::string map;               ///< the add-cow file to be deleted; empty: none
  std::uint64_t map_device = 0;  ///< which file that was when it was mounted
  std::uint64_t map_inode = 0;
};

/// With --wait lets the job finish. Errors: the mount stays.
[[nodiscard]] Result<EndPlan> before_end(Daemon& daemon, const EndFlags& flags,
                                         std::optional<std::chrono::milliseconds> deadline);

/// Ends the mount, waits until the image is closed, prints what became of it and gives the exit status. While the view
/// is still in use, tries again for so long. Errors: the mount stays, or the image could not be closed.
[[nodiscard]] Result<int> end_mount(Daemon& daemon, const EndFlags& flags, const EndPlan& plan,
                                    std::chrono::milliseconds patience);

}  // namespace penstock::cli
