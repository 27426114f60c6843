// SPDX-License-Identifier: Apache-2.0
/// The program under the names that mount(8) and umount(8) call: mount.penstock, mount.fuse.penstock, umount.penstock
/// and umount.fuse.penstock. Source: mount(8) "EXTERNAL HELPERS", umount(8) "EXTERNAL HELPERS", mount(8) "EXIT STATUS".
#pragma once

#include <penstock/error.hpp>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::cli {

enum class HelperRole : std::uint8_t { none, mount, umount };

/// Of the name that the program was called by.
[[nodiscard]] HelperRole helper_role(std::string_view program);

/// A flag of `penstock mount` as the parser knows it.
enum class FlagKind : std::uint8_t {
  none,   ///< there is no such flag
  plain,  ///< --stream
  value,  ///< --threads N
};
using FlagLookup = std::function<FlagKind(const std::string& name)>;  ///< name: "stream-speed"

/// What a call of mount.penstock asks for.
struct MountCall {
  std::vector<std::string> arguments;  ///< of `penstock`: "mount", flags, "--", IMAGE, MOUNTPOINT
  std::string image;
  bool no_fail = false;  ///< an image that is missing is no failure
  bool fake = false;     ///< -f: do nothing
};

/// `words` without the program's name. A mount option that is a flag of `penstock mount` becomes that flag, '-' and '_'
/// being the same; what is for mount(8) and systemd alone is left out; the rest is handed on with -o.
/// Errors: EINVAL with what is wrong.
[[nodiscard]] Result<MountCall> read_mount_call(const std::vector<std::string>& words, const FlagLookup& lookup);

/// Runs umount.penstock and gives mount(8)'s kind of exit status: unmounts, and returns when the image is closed.
[[nodiscard]] int run_umount_helper(const std::vector<std::string>& words);

/// mount(8)'s kind of exit status from one of ours.
[[nodiscard]] int mount_exit_status(int status);

}  // namespace penstock::cli
