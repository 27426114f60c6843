// SPDX-License-Identifier: Apache-2.0
/// What the daemon gives up when it does not need it any more, so that a fault in reading an image is of little use to
/// whoever made the image. Source: landlock(7), seccomp(2), capabilities(7).
#pragma once

#include <string>

namespace penstock::fuse {

/// A sanitizer writes its findings to files of its own choice.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSandboxByDefault = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSandboxByDefault = false;
#else
inline constexpr bool kSandboxByDefault = true;
#endif
#else
inline constexpr bool kSandboxByDefault = true;
#endif

/// What must go on working.
struct SandboxNeeds {
  std::string control_directory;  ///< the control socket is removed from it in the end
  bool network = false;           ///< some layer is read over the network
  bool rings = false;             ///< requests come over io_uring
};

/// Before an image is opened: system calls that neither opening nor mounting one needs are refused from now on; those
/// of io_uring are not if `rings` may be wanted. Only a privileged process can do so and still mount; an ordinary
/// user's has little that it could lose.
void shed_before_opening(bool rings);

/// After mounting, before the first request: no new files but a few of the system's own, no programs, no mounts, no
/// other processes, no network unless needed, no capabilities. What the kernel does not know is left out.
/// The calling thread must be the only one. Answers what is in force, for people: "seccomp, landlock 6", or "off".
[[nodiscard]] std::string enter_sandbox(const SandboxNeeds& needs);

/// Memory that this process asks the kernel for is never waited for by writing to a disk, which could be its own.
/// All threads made from now on. Without effect where that is not allowed. Source: prctl(2), PR_SET_IO_FLUSHER.
void become_io_flusher();

}  // namespace penstock::fuse
