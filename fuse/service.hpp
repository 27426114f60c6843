// SPDX-License-Identifier: Apache-2.0
/// The life of a mounted image: mount, serve, unmount, close.
#pragma once

#include "fuse/mount_options.hpp"
#include "fuse/mountpoint.hpp"
#include "fuse/unmounter.hpp"
#include "fuse/view.hpp"

#include "control/stream_job.hpp"

#include <penstock/image.hpp>

#include <functional>
#include <memory>
#include <string>

namespace penstock::fuse {

struct ServeOptions {
  Mountpoint mountpoint;
  MountOptions mount;
  DiscardPolicy discard = DiscardPolicy::unmap;
  bool resizable = false;
  std::optional<bool> stream;         ///< unset: when the image remembers that it was streaming
  control::StreamRequest streaming;   ///< how, when it does
  std::optional<bool> copy_on_read;   ///< unset: as the image remembers
  unsigned threads = 0;               ///< 0: a number that suits the machine
  std::string detect_zeroes = "off";  ///< what the image was opened with, for status
  std::uint64_t cache_bytes = 0;      ///< what the image was opened with, for status
  std::string version;
  std::function<void()> on_signal;              ///< before a signal ends the mount: lets go of the view; may be empty
  std::function<void()> on_unmounted;           ///< before the image is flushed and closed; may be empty
  std::function<void()> on_left_waiting;        ///< before the process ends itself, see serve(); may be empty
  bool sandbox = false;                         ///< before it serves, gives up what it does not need for that
  std::string trace;                            ///< file that every request is recorded in; empty: none
  std::uint64_t trace_bytes_max = 1ULL << 30U;  ///< how long it may become
};

using Ready = std::function<bool(const std::string& view)>;

/// Mounts `image` and serves it until it is unmounted, by whom and however, or SIGTERM, SIGINT or SIGHUP asks for it;
/// then flushes and closes the image. What still waits then for a layer that does not answer is given 10 s. After that
/// the image is flushed, but not closed, and the process ends itself with status 1, having told who waits for it: the
/// threads that wait cannot be ended otherwise. `unmounter` is what reaches the mount from outside. `ready` is called
/// once the view answers, on another thread, with the path of the view; false: nobody waits for it any more, and it is
/// unmounted.
///
/// States: mounted -> served -> (unmounted | stopped by a signal | aborted | device broken) -> image closed.
///
/// The calling thread must be the only one of the process. The three signals are blocked from now on.
/// Errors: what hindered mounting; what ended serving other than an unmount; a final flush that failed.
[[nodiscard]] Result<> serve(std::unique_ptr<Image> image, const ServeOptions& options, Unmounter& unmounter,
                             const Ready& ready);

}  // namespace penstock::fuse
