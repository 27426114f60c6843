// SPDX-License-Identifier: Apache-2.0
/// The list of `-o`: what concerns the view itself, and what is handed to the kernel.
#pragma once

#include <penstock/error.hpp>

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::fuse {

inline constexpr std::uint32_t kTransferMin = 4096;       ///< a page: the kernel sends no smaller request
inline constexpr std::uint32_t kTransferMax = 1U << 20U;  ///< the kernel's FUSE_MAX_MAX_PAGES of 4 KiB pages

struct MountOptions {
  bool read_only = false;
  bool allow_other = false;
  bool allow_root = false;
  bool auto_unmount = false;
  std::optional<uid_t> uid;  ///< owner of the view; unset: who mounts
  std::optional<gid_t> gid;
  std::optional<mode_t> mode;         ///< permission bits; unset: 0600, or 0400 when read-only
  std::optional<std::string> fsname;  ///< unset: the image's absolute path
  std::string subtype = "penstock";
  std::uint32_t max_read = kTransferMax;  ///< bytes in one request
  std::uint32_t max_write = kTransferMax;
  std::optional<bool> io_uring;     ///< requests over io_uring; unset: no
  std::optional<bool> passthrough;  ///< the kernel reads (and writes) a raw file by itself; unset: no
  bool writeback = false;           ///< the kernel keeps what is written and sends it on later, in large requests
  std::vector<std::string> kernel;  ///< noexec, noatime, ...: handed on as they are
};

/// Adds a comma-separated list (`-o`) to `options`; a backslash takes the next character as it is. Later words win.
/// Errors: EINVAL names the word that is unknown or whose value makes no sense.
/// Source: mount(8) "Filesystem-independent mount options", mount.fuse3(8).
[[nodiscard]] Result<> parse_mount_options(std::string_view list, MountOptions& options);

/// Refuses what this user may not ask for. Errors: EPERM for allow_other and allow_root of an ordinary user while
/// /etc/fuse.conf does not have user_allow_other.
[[nodiscard]] Result<> check_mount_options(const MountOptions& options);

/// Whether fuse.conf(5)'s text has `user_allow_other` on a line of its own.
[[nodiscard]] bool allows_other_users(std::string_view fuse_conf);

}  // namespace penstock::fuse
