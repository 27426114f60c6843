// SPDX-License-Identifier: Apache-2.0
#include "cli/loop_device.hpp"

#include "base/real_path.hpp"
#include "base/text.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string_view>
#include <thread>

namespace penstock::cli {

namespace {

using std::chrono::milliseconds;

constexpr unsigned kSectorBytes = 512;
constexpr unsigned kLargeSectorBytes = 4096;

/// A GUID partition table says of which sectors it counts by where it stands: in the second one.
unsigned sector_size_of(int file) {
  constexpr std::string_view kSignature = "EFI PART";
  const auto stands_at = [&](unsigned offset) {
    // Whole blocks: the file is open for direct I/O.
    const std::unique_ptr<void, void (*)(void*)> block(std::aligned_alloc(kLargeSectorBytes, kLargeSectorBytes),
                                                       std::free);
    const unsigned from = offset / kLargeSectorBytes * kLargeSectorBytes;
    const ssize_t got = block ? pread(file, block.get(), kLargeSectorBytes, from) : -1;
    if (got < static_cast<ssize_t>(offset - from + kSignature.size())) return false;
    return std::memcmp(static_cast<const char*>(block.get()) + (offset - from), kSignature.data(), kSignature.size()) ==
           0;
  };
  return !stands_at(kSectorBytes) && stands_at(kLargeSectorBytes) ? kLargeSectorBytes : kSectorBytes;
}

/// As LOOP_CONFIGURE, on kernels before 5.8, in steps.
bool configure_in_steps(int device, const loop_config& config) {
  if (ioctl(device, LOOP_SET_FD, config.fd) != 0) return false;
  if (ioctl(device, LOOP_SET_STATUS64, &config.info) == 0 &&
      (config.block_size == kSectorBytes || ioctl(device, LOOP_SET_BLOCK_SIZE, config.block_size) == 0)) {
    static_cast<void>(ioctl(device, LOOP_SET_DIRECT_IO, 1UL));
    return true;
  }
  const int number = errno;
  ioctl(device, LOOP_CLR_FD, 0);
  errno = number;
  return false;
}

bool configure(int device, const loop_config& config) {
  if (ioctl(device, LOOP_CONFIGURE, &config) == 0) return true;
  if (errno != ENOTTY && errno != EINVAL) return false;
  return configure_in_steps(device, config);
}

std::vector<std::string> describe_lacks(int device, const std::string& path, const std::string& file, unsigned sector) {
  std::vector<std::string> out;
  loop_info64 info{};
  if (ioctl(device, LOOP_GET_STATUS64, &info) == 0 && (info.lo_flags & LO_FLAGS_DIRECT_IO) == 0) {
    out.push_back(concat(path, ": no direct I/O to ", file, ": what is read is kept in memory twice"));
  }
  struct stat attributes{};
  if (stat(file.c_str(), &attributes) == 0 && attributes.st_size % sector != 0) {
    out.push_back(concat(path, ": the last ", attributes.st_size % sector,
                         " bytes of the disk do not fill a sector and are left out; 'penstock resize' makes it whole"));
  }
  return out;
}

std::string sysfs_of(std::string_view name) {
  return concat("/sys/block/", name);
}

bool is_over(const std::string& name, const std::string& file) {
  return backing_file(name) == file;
}

}  // namespace

Result<AttachedLoop> attach_loop(const std::string& file, const LoopOptions& options) {
  const int access = (options.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
  Descriptor view(open(file.c_str(), access | O_DIRECT));
  if (!view && errno == EINVAL) view = Descriptor(open(file.c_str(), access));
  if (!view) return system_failure(file);
  const Descriptor control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control) {
    return fail(errno, concat("/dev/loop-control: ", std::strerror(errno),
                              errno == ENOENT ? "; load the kernel's loop module: 'modprobe loop'" : ""));
  }
  loop_config config{};
  config.fd = static_cast<__u32>(view.get());
  config.block_size = options.sector_size != 0 ? options.sector_size : sector_size_of(view.get());
  config.info.lo_flags = LO_FLAGS_PARTSCAN | LO_FLAGS_DIRECT_IO;
  if (options.read_only) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
  std::memcpy(config.info.lo_file_name, file.c_str(), std::min<std::size_t>(file.size(), LO_NAME_SIZE - 1));
  // Whoever looks for a free device at the same time may be faster.
  constexpr int kTries = 100;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return system_failure("cannot get a free loop device");
    const std::string path = concat("/dev/loop", number);
    // A new device's node is made by udev, a moment later; in a container by nobody.
    Descriptor device(open(path.c_str(), access));
    for (int wait = 0; !device && errno == ENOENT && wait < 50; ++wait) {
      std::this_thread::sleep_for(milliseconds(20));
      device = Descriptor(open(path.c_str(), access));
    }
    if (!device && errno == ENOENT) {
      return fail(ENOENT, concat(path, ": there is no such node; make it: 'mknod ", path, " b 7 ", number, "'"));
    }
    if (!device && errno != EBUSY && errno != ENXIO) return system_failure(path);
    if (device && configure(device.get(), config)) {
      return AttachedLoop{path, describe_lacks(device.get(), path, file, config.block_size)};
    }
    if (errno != EBUSY && errno != EAGAIN && errno != ENXIO) {
      return system_failure(concat(path, ": cannot be attached to ", file));
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
  return fail(EBUSY, "no loop device stays free; try again");
}

Result<std::string> loop_name(const std::string& device) {
  constexpr std::size_t kPrefix = std::string_view("/dev/").size();
  const auto resolved = real_path(device);
  if (!resolved) return Failure(resolved.error());
  struct stat attributes{};
  if (stat(resolved->c_str(), &attributes) != 0) return system_failure(device);
  const std::string& path = *resolved;
  if (!S_ISBLK(attributes.st_mode) || !path.starts_with("/dev/loop")) {
    return fail(ENOTBLK, concat(device, ": is not a loop device; 'penstock attach' printed its name"));
  }
  std::string name = path.substr(kPrefix);
  if (const auto part = name.find('p', std::string_view("loop").size()); part != std::string::npos) {
    return fail(EINVAL, concat(device, ": is a partition; name the whole device, /dev/", name.substr(0, part)));
  }
  return name;
}

std::optional<std::string> backing_file(const std::string& name) {
  std::ifstream file(concat(sysfs_of(name), "/loop/backing_file"), std::ios::binary);
  if (!file) return std::nullopt;
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (text.ends_with('\n')) text.pop_back();
  // The mount that the path lay in is gone.
  constexpr std::string_view kGone = " (deleted)";
  if (text.ends_with(kGone)) text.resize(text.size() - kGone.size());
  if (text.empty()) return std::nullopt;
  return text;
}

Result<std::optional<std::string>> loop_label(const std::string& name) {
  const std::string path = concat("/dev/", name);
  const Descriptor device(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!device) return system_failure(path);
  loop_info64 info{};
  if (ioctl(device.get(), LOOP_GET_STATUS64, &info) != 0) {
    if (errno == ENXIO) return std::nullopt;
    // The kernel asks the file for its attributes first, and its server is gone.
    return backing_file(name);
  }
  const auto* text = reinterpret_cast<const char*>(info.lo_file_name);
  return std::string(text, strnlen(text, LO_NAME_SIZE));
}

std::vector<std::string> loops_over(const std::string& file) {
  std::vector<std::string> out;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir("/sys/block"), closedir);
  if (!entries) return out;
  while (const dirent* entry = readdir(entries.get())) {
    const std::string name = entry->d_name;
    if (name.starts_with("loop") && is_over(name, file)) out.push_back(name);
  }
  return out;
}

Result<HeldLoop> HeldLoop::hold(const std::string& name) {
  const std::string path = concat("/dev/", name);
  auto file = backing_file(name);
  if (!file) return fail(ENXIO, concat(path, ": is not attached to anything"));
  Descriptor device(open(path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  if (!device) return system_failure(path);
  return HeldLoop(name, *std::move(file), std::move(device));
}

Result<> HeldLoop::flush() {
  if (fsync(descriptor_.get()) != 0) return system_failure(concat("/dev/", name_, ": cannot be synced"));
  return {};
}

Result<> HeldLoop::detach(milliseconds patience) {
  if (ioctl(descriptor_.get(), LOOP_CLR_FD, 0) != 0 && errno != ENXIO) {
    return system_failure(concat("/dev/", name_, ": cannot be detached"));
  }
  // Newer kernels detach when the last user closes, and that is this one.
  descriptor_.reset();
  const auto give_up = std::chrono::steady_clock::now() + patience;
  while (is_over(name_, file_)) {
    if (std::chrono::steady_clock::now() > give_up) {
      return fail(EBUSY, concat("/dev/", name_, ": is still open somewhere; it is let go of with the last close"));
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  return {};
}

void release_loop(const std::string& device, const std::string& file) {
  const auto name = loop_name(device);
  if (!name) return;
  // The mount may have gone under it, so that the kernel has no path for the file any more.
  const auto label = loop_label(*name);
  if (!label || !*label || **label != file.substr(0, LO_NAME_SIZE - 1)) return;
  const Descriptor opened(open(device.c_str(), O_RDONLY | O_CLOEXEC));
  if (opened) ioctl(opened.get(), LOOP_CLR_FD, 0);
}

}  // namespace penstock::cli
