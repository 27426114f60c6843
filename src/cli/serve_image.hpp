// SPDX-License-Identifier: Apache-2.0
/// What `mount` and `attach` share: opening an image and serving it, in the background or not.
#pragma once

#include "cli/mount_flags.hpp"

#include <functional>
#include <string>

namespace penstock::cli {

/// What a command adds to the life of a mount. All of it runs in the process that serves.
struct MountSteps {
  /// Where the view is to appear.
  std::function<Result<fuse::Mountpoint>()> place;
  /// The view at this path answers; the command ends well when this does. May be empty.
  std::function<Result<>(const std::string& view)> ready;
  /// A signal is about to end the mount, while the view still answers: lets go of it where that can be. May be empty.
  std::function<void()> let_go;
  /// The image is closed, or what `ready` made is not wanted any more: undoes it. May be empty; may come twice.
  std::function<void()> undo;
  /// Once the image is mounted the daemon gives up all that it does not need: not for those whose `ready` and `undo`
  /// need it.
  bool sandbox = false;
};

/// Gives the exit status of `command`: once the view answers, or with --foreground when the image was closed.
[[nodiscard]] int serve_image(const std::string& command, const MountFlags& flags, const MountSteps& steps);

}  // namespace penstock::cli
