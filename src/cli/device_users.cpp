// SPDX-License-Identifier: Apache-2.0
#include "cli/device_users.hpp"

#include "base/text.hpp"
#include "fuse/mountpoint.hpp"

#include <dirent.h>
#include <mntent.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <vector>

namespace penstock::cli {

namespace {

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string first_line(const std::string& path) {
  const std::string text = contents(path);
  return text.substr(0, text.find('\n'));
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> out;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()), closedir);
  if (!entries) return out;
  while (const dirent* entry = readdir(entries.get())) {
    if (entry->d_name[0] != '.') out.emplace_back(entry->d_name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// The whole device or one of its partitions.
struct Node {
  std::string path;    ///< "/dev/loop3p1"
  std::string sysfs;   ///< "/sys/block/loop3/loop3p1"
  std::string number;  ///< "259:1"
};

std::vector<Node> nodes_of(const std::string& name) {
  const std::string whole = concat("/sys/block/", name);
  std::vector<Node> out{{concat("/dev/", name), whole, first_line(concat(whole, "/dev"))}};
  for (const std::string& part : names_in(whole)) {
    const std::string sysfs = concat(whole, "/", part);
    if (part.starts_with(concat(name, "p"))) {
      out.push_back({concat("/dev/", part), sysfs, first_line(concat(sysfs, "/dev"))});
    }
  }
  return out;
}

/// Some file systems (btrfs) have a device number of their own; their source names the device.
std::optional<std::string> place_by_source(const Node& node) {
  const std::unique_ptr<FILE, int (*)(FILE*)> table(setmntent("/proc/self/mounts", "re"), endmntent);
  if (!table) return std::nullopt;
  while (const mntent* entry = getmntent(table.get())) {
    if (entry->mnt_fsname == node.path) return entry->mnt_dir;
  }
  return std::nullopt;
}

std::optional<std::string> mounted_at(const std::vector<Node>& nodes, const std::string& table) {
  for (const fuse::MountEntry& mount : fuse::parse_mountinfo(contents(table))) {
    for (const Node& node : nodes) {
      if (mount.device == node.number) return concat(node.path, " is mounted at ", printable(mount.path));
    }
  }
  return std::nullopt;
}

bool is_number(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string process_name(const std::string& process) {
  return concat(printable(first_line(concat("/proc/", process, "/comm"))), " (process ", process, ")");
}

}  // namespace

std::optional<std::string> holder_of_device(const std::string& name) {
  const auto nodes = nodes_of(name);
  if (const auto found = mounted_at(nodes, "/proc/self/mountinfo")) return concat(*found, "; unmount that first");
  for (const Node& node : nodes) {
    if (const auto place = place_by_source(node)) {
      return concat(node.path, " is mounted at ", printable(*place), "; unmount that first");
    }
    const std::string swaps = concat("\n", contents("/proc/swaps"));
    if (swaps.find(concat("\n", node.path, " ")) != std::string::npos) {
      return concat(node.path, " is swap space; run 'swapoff ", node.path, "' first");
    }
    for (const std::string& holder : names_in(concat(node.sysfs, "/holders"))) {
      const std::string mapping = first_line(concat("/sys/block/", holder, "/dm/name"));
      if (!mapping.empty()) {
        return concat(node.path, " is part of /dev/mapper/", printable(mapping),
                      "; remove that first (dmsetup, vgchange)");
      }
      return concat(node.path, " is part of /dev/", printable(holder), "; stop that first");
    }
  }
  for (const std::string& process : names_in("/proc")) {
    if (!is_number(process)) continue;
    if (const auto found = mounted_at(nodes, concat("/proc/", process, "/mountinfo"))) {
      return concat(*found, " in the mount namespace of ", process_name(process), "; unmount that first");
    }
  }
  return std::nullopt;
}

std::optional<std::string> opener_of_device(const std::string& name) {
  const auto nodes = nodes_of(name);
  const std::string self = std::to_string(getpid());
  for (const std::string& process : names_in("/proc")) {
    if (!is_number(process) || process == self) continue;
    const std::string files = concat("/proc/", process, "/fd");
    for (const std::string& file : names_in(files)) {
      // Not stat(2): it would hang on a file of a dead server.
      std::array<char, PATH_MAX> target;
      const ssize_t length = readlink(concat(files, "/", file).c_str(), target.data(), target.size());
      if (length <= 0) continue;
      const std::string path(target.data(), static_cast<std::size_t>(length));
      for (const Node& node : nodes) {
        if (path == node.path) return concat(node.path, " is open in ", process_name(process), "; end that first");
      }
    }
  }
  return std::nullopt;
}

}  // namespace penstock::cli
