// SPDX-License-Identifier: Apache-2.0
/// Where the view appears: checks before mounting, what the kernel says is mounted, and unmounting.
#pragma once

#include <penstock/image.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::fuse {

struct Mountpoint {
  std::string path;        ///< absolute, without symbolic links
  bool directory = false;  ///< the view appears in it; otherwise it is the file that becomes the view
};

/// Looks at what the user named. Errors: ENOENT, ENOTDIR, EACCES; EBUSY when something is mounted there; EINVAL for
/// what is neither a directory nor a regular file.
[[nodiscard]] Result<Mountpoint> find_mountpoint(const std::string& name);

/// Refuses a mountpoint that is a file of the image: the view would hide what it is made of. Errors: EBUSY.
[[nodiscard]] Result<> check_not_a_layer(const Mountpoint& mountpoint, const std::vector<LayerInfo>& layers);

/// What the file in a mounted directory is called: the image's file name without its suffix, and ".raw".
[[nodiscard]] std::string view_name(std::string_view image_path);

/// One line of /proc/self/mountinfo.
struct MountEntry {
  std::uint64_t id = 0;  ///< given to another mount once this one is gone
  std::string path;
  std::string device;  ///< "0:45"
};

/// Source: proc(5), "/proc/[pid]/mountinfo". Lines that do not look so are left out.
[[nodiscard]] std::vector<MountEntry> parse_mountinfo(std::string_view text);
[[nodiscard]] std::vector<MountEntry> read_mounts();
/// The mount that is seen at `path`: the last of those made there.
[[nodiscard]] std::optional<MountEntry> mount_at(const std::vector<MountEntry>& mounts, std::string_view path);
/// The same, from the kernel at once where it can say so; a file system that was just mounted is not asked.
/// Source: statx(2), STATX_MNT_ID and STATX_ATTR_MOUNT_ROOT.
[[nodiscard]] std::optional<MountEntry> find_mount_at(const std::string& path);
/// `mount` as it is now: it may have been moved. Id and device together tell it from one that came after it.
[[nodiscard]] std::optional<MountEntry> find_again(const std::vector<MountEntry>& mounts, const MountEntry& mount);

enum class Unmount : std::uint8_t {
  unless_busy,
  detach,  ///< lazily: out of sight at once, gone when the last file is closed
};

/// Unmounts `mount` as umount2(2) or, for an ordinary user, fusermount3(1) does; success when it is gone already.
/// Errors: EBUSY while files are open or another mount lies over it.
[[nodiscard]] Result<> unmount(const MountEntry& mount, Unmount how);

/// Tells the kernel that file `name` of `mount`, or the file at which that was made when it is empty, has `size` bytes.
/// With the writeback cache the kernel believes in its own idea of the size, which for the root of a mount begins with
/// 0 and which writes behind the end change; setting it is the one way to tell it. What it keeps behind `size` is
/// dropped. Only while the file system is served.
[[nodiscard]] Result<> announce_size(const MountEntry& mount, const std::string& name, std::uint64_t size);

}  // namespace penstock::fuse
