// SPDX-License-Identifier: Apache-2.0
#include "cli/serve_image.hpp"

#include "cli/common.hpp"
#include "cli/service_notice.hpp"

#include "base/log.hpp"
#include "base/text.hpp"
#include "fuse/daemon.hpp"
#include "fuse/mount_options.hpp"
#include "fuse/rings.hpp"
#include "fuse/sandbox.hpp"
#include "fuse/unmounter.hpp"

#include <memory>
#include <optional>
#include <utility>

namespace penstock::cli {

int serve_image(const std::string& command, const MountFlags& flags, const MountSteps& steps) {
  ImageOptions image_options;
  fuse::ServeOptions serve;
  if (const auto understood = interpret_mount_flags(flags, image_options, serve); !understood) {
    return usage_error(command, understood.error().message());
  }
  if (const auto allowed = fuse::check_mount_options(serve.mount); !allowed) return report(allowed.error());
  fuse::Daemon daemon;
  // A service manager wants its own child to serve; from the background there is nobody to tell.
  auto notice = ServiceNotice::from_environment(flags.foreground);
  if (!notice) return report(notice.error());
  const auto unmounter = fuse::Unmounter::make();
  if (!unmounter) return report(unmounter.error());
  // Into the background before the image is opened: threads do not survive a fork. The helper process is started before
  // a byte of the image is read, which might be what breaks us; by the parent, which waits anyway.
  if (flags.foreground) {
    (*unmounter)->start();
  } else {
    const auto status = daemon.detach([&unmounter] { (*unmounter)->start(); });
    if (!status) return report(status.error());
    if (*status) return **status;
    (*unmounter)->left_to_another();
  }
  auto mountpoint = steps.place();
  if (!mountpoint) return report(mountpoint.error());
  serve.mountpoint = *std::move(mountpoint);
  serve.on_signal = steps.let_go;
  serve.on_left_waiting = steps.undo;
  serve.on_unmounted = [&notice] { notice->stopping(); };
  const auto undo = [&steps] {
    if (steps.undo) steps.undo();
  };
  serve.sandbox = steps.sandbox;
  if (steps.sandbox) fuse::shed_before_opening(fuse::wants_rings(serve.mount));
  auto image = Image::open(flags.image, image_options);
  if (!image) {
    undo();
    return report(image.error());
  }
  bool in_background = false;
  std::optional<Error> not_ready;
  const auto served = fuse::serve(*std::move(image), serve, **unmounter, [&](const std::string& view) {
    if (steps.ready) {
      if (auto made = steps.ready(view); !made) {
        not_ready = std::move(made).error();
        undo();
        return false;
      }
    }
    if (flags.foreground) {
      notice->ready(view, printable(flags.image));
      return true;
    }
    in_background = true;
    if (daemon.ready()) return true;
    // Whoever waited was told to end, and believes that nothing is left behind.
    undo();
    return false;
  });
  undo();
  if (served) return kSuccess;
  if (not_ready) return report(*not_ready);
  // The terminal is gone by then; the system's log is where somebody may look.
  if (in_background) log_line(LogLevel::error, concat(flags.image, ": ", served.error().message()));
  return in_background ? kFailure : report(served.error());
}

}  // namespace penstock::cli
