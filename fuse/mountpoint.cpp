// SPDX-License-Identifier: Apache-2.0
#include "fuse/mountpoint.hpp"

#include "base/real_path.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <thread>
#include <utility>

namespace penstock::fuse {

namespace {

/// The next word of a line; the line begins behind it afterwards.
std::string_view take_word(std::string_view& line) {
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(std::min(word.size() + 1, line.size()));
  return word;
}

/// Blanks, line ends and backslashes are written as three octal digits.
std::string unescape(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    unsigned code = 0;
    if (text.size() >= 4 && text[0] == '\\' &&
        std::from_chars(text.data() + 1, text.data() + 4, code, 8).ptr == text.data() + 4 && code <= UCHAR_MAX) {
      out.push_back(static_cast<char>(code));
      text.remove_prefix(4);
    } else {
      out.push_back(text.front());
      text.remove_prefix(1);
    }
  }
  return out;
}

/// posix_spawnp(3), tried again for a while where a limit on processes forbids it: who asked for this may be about to
/// end, and a mount that looks whether it may have one more thread holds the last place for a moment (base/crew.cpp).
template <typename... Arguments>
int spawn_patiently(Arguments... arguments) {
  constexpr int kTries = 100;
  constexpr std::chrono::milliseconds kBetween{10};
  for (int tries = 1;; ++tries) {
    const int failed = posix_spawnp(arguments...);
    if (failed != EAGAIN || tries == kTries) return failed;
    std::this_thread::sleep_for(kBetween);
  }
}

/// Runs fusermount3(1). What it complains about becomes the error.
Result<> run_fusermount(const std::string& path, Unmount how) {
  std::array<int, 2> complaints{};
  if (pipe2(complaints.data(), O_CLOEXEC) != 0) return system_failure("cannot make a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, complaints[1], STDERR_FILENO);
  // The daemon blocks the signals it waits for; a child must not inherit that.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::string program = "fusermount3";
  std::string option = how == Unmount::detach ? "-uz" : "-u";
  std::string end_of_options = "--";
  std::string place = path;
  const std::array<char*, 5> arguments{program.data(), option.data(), end_of_options.data(), place.data(), nullptr};
  pid_t child = -1;
  const int failed = spawn_patiently(&child, program.c_str(), &actions, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(complaints[1]);
  std::string text;
  std::array<char, 512> buffer;
  for (ssize_t got = 0; failed == 0 && (got = read(complaints[0], buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  close(complaints[0]);
  if (failed != 0) return system_failure("cannot run fusermount3", failed);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  text = text.substr(0, text.find('\n'));
  if (text.ends_with("Device or resource busy")) return system_failure("cannot unmount", EBUSY);
  return fail(EPERM, text.empty() ? "fusermount3 failed" : text);
}

}  // namespace

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> out;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    MountEntry entry;
    const auto id = take_word(line);
    const auto parent = take_word(line);
    const auto device = take_word(line);
    const auto root = take_word(line);
    entry.path = unescape(take_word(line));
    entry.device = device;
    if (std::from_chars(id.data(), id.data() + id.size(), entry.id).ec != std::errc()) continue;
    if (parent.empty() || device.empty() || root.empty() || entry.path.empty()) continue;
    out.push_back(std::move(entry));
  }
  return out;
}

std::vector<MountEntry> read_mounts() {
  std::ifstream file("/proc/self/mountinfo", std::ios::binary);
  return parse_mountinfo(std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>()));
}

std::optional<MountEntry> mount_at(const std::vector<MountEntry>& mounts, std::string_view path) {
  for (auto entry = mounts.rbegin(); entry != mounts.rend(); ++entry) {
    if (entry->path == path) return *entry;
  }
  return std::nullopt;
}

std::optional<MountEntry> find_mount_at(const std::string& path) {
  struct statx facts{};
  const bool told =
      statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_MNT_ID, &facts) == 0 &&
      (facts.stx_mask & STATX_MNT_ID) != 0 && (facts.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0;
  // The list is as long as there are mounts.
  if (!told) return mount_at(read_mounts(), path);
  if ((facts.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0) return std::nullopt;
  return MountEntry{
      .id = facts.stx_mnt_id, .path = path, .device = concat(facts.stx_dev_major, ":", facts.stx_dev_minor)};
}

std::optional<MountEntry> find_again(const std::vector<MountEntry>& mounts, const MountEntry& mount) {
  for (const MountEntry& entry : mounts) {
    if (entry.id == mount.id && entry.device == mount.device) return entry;
  }
  return std::nullopt;
}

Result<Mountpoint> find_mountpoint(const std::string& name) {
  struct stat attributes{};
  struct statfs below{};
  // The kernel remembers the attributes of a file system that died a moment ago, but asks it for its room.
  if (stat(name.c_str(), &attributes) != 0 || (statfs(name.c_str(), &below) != 0 && errno == ENOTCONN)) {
    if (errno == ENOTCONN) {
      return fail(EBUSY, concat("mountpoint ", name, ": a dead mount is there; run 'umount ", name, "' first"));
    }
    return system_failure(concat("mountpoint ", name));
  }
  const auto resolved = real_path(name);
  if (!resolved) return fail(resolved.error().number(), concat("mountpoint ", resolved.error().message()));
  Mountpoint out{*resolved, S_ISDIR(attributes.st_mode)};
  if (!out.directory && !S_ISREG(attributes.st_mode)) {
    return fail(EINVAL, concat("mountpoint ", name, ": neither a directory nor a regular file"));
  }
  // Whoever lists processes would wait for the view, the daemon itself before it can answer.
  if (below.f_type == PROC_SUPER_MAGIC) {
    return fail(EINVAL, concat("mountpoint ", name, ": belongs to the kernel's list of processes; name another"));
  }
  if (find_mount_at(out.path)) {
    return fail(EBUSY, concat("mountpoint ", name, ": something is mounted here already; unmount it or name another"));
  }
  return out;
}

Result<> check_not_a_layer(const Mountpoint& mountpoint, const std::vector<LayerInfo>& layers) {
  const auto here = identify_storage(ImageName{.address = mountpoint.path});
  if (!here) return Failure(here.error().in(concat("mountpoint ", mountpoint.path)));
  for (const LayerInfo& layer : layers) {
    if (layer.facts.identity == *here) {
      return fail(EBUSY, concat("mountpoint ", mountpoint.path, ": is part of the image itself; name another file"));
    }
  }
  return {};
}

std::string view_name(std::string_view image_path) {
  std::string_view name = image_path.substr(image_path.rfind('/') + 1);
  // What is no path (json:{...}) makes no file name.
  if (name.empty() || name.find_first_of("{}\"") != std::string_view::npos) return "disk.raw";
  if (const auto dot = name.rfind('.'); dot != std::string_view::npos && dot > 0) name = name.substr(0, dot);
  // The kernel takes names up to NAME_MAX bytes.
  return concat(name.substr(0, NAME_MAX - 4), ".raw");
}

Result<> unmount(const MountEntry& mount, Unmount how) {
  const auto mounts = read_mounts();
  // Every process sees some mount: without descriptors or memory the list is empty, and nothing can be told from it.
  if (mounts.empty()) return fail(EMFILE, "cannot unmount: /proc/self/mountinfo cannot be read");
  const auto current = find_again(mounts, mount);
  if (!current) return {};
  if (const auto seen = mount_at(mounts, current->path); seen && seen->id != mount.id) {
    return fail(EBUSY, concat("cannot unmount ", current->path, ": another file system is mounted over it"));
  }
  const int flags = UMOUNT_NOFOLLOW | (how == Unmount::detach ? MNT_DETACH : 0);
  if (umount2(current->path.c_str(), flags) == 0) return {};
  // Somebody else was faster.
  if (errno == EINVAL || errno == ENOENT) {
    if (!find_again(read_mounts(), mount)) return {};
  }
  auto done = errno == EPERM ? run_fusermount(current->path, how) : Result<>(system_failure("cannot unmount"));
  if (done || !find_again(read_mounts(), mount)) return {};
  if (done.error().is(EBUSY)) {
    return fail(EBUSY, concat("cannot unmount ", current->path,
                              ": it is in use (open files, loop devices, working "
                              "directories); close them and try again"));
  }
  return Failure(done.error().in(current->path));
}

Result<> announce_size(const MountEntry& mount, const std::string& name, std::uint64_t size) {
  const auto current = find_again(read_mounts(), mount);
  if (!current) return fail(ENOENT, "the mount is gone");
  const std::string path = name.empty() ? current->path : concat(current->path, "/", name);
  if (truncate(path.c_str(), static_cast<off_t>(size)) == 0) return {};
  return system_failure(concat("cannot tell the kernel the size of ", path, ", which -o writeback needs"));
}

}  // namespace penstock::fuse
