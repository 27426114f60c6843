// SPDX-License-Identifier: Apache-2.0
/// Linux's loop devices: a file as a block device. Source: loop(4), linux/loop.h, Documentation/ABI sysfs-block.
#pragma once

#include "control/socket.hpp"

#include <penstock/error.hpp>

#include "base/descriptor.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace penstock::cli {

struct LoopOptions {
  bool read_only = false;
  unsigned sector_size = 0;  ///< bytes; 0: what the partition table in the file was made for, else 512
};

struct AttachedLoop {
  std::string device;                 ///< "/dev/loop3"
  std::vector<std::string> warnings;  ///< what could not be had, one line each
};

/// Attaches a free loop device to `file`, with direct I/O and its partitions. Errors: what is missing and how to get
/// it.
[[nodiscard]] Result<AttachedLoop> attach_loop(const std::string& file, const LoopOptions& options);

/// "loop3" of what names a loop device or a link to one. Errors: ENOTBLK and those of stat(2).
[[nodiscard]] Result<std::string> loop_name(const std::string& device);

/// The file under the loop device of this name; nothing when the device is free.
[[nodiscard]] std::optional<std::string> backing_file(const std::string& name);

/// What attach_loop() was given, cut after 63 bytes: it stays when the file's mount has gone. Nothing when it is free.
[[nodiscard]] Result<std::optional<std::string>> loop_label(const std::string& name);

/// Loop devices whose file is `file`, by name.
[[nodiscard]] std::vector<std::string> loops_over(const std::string& file);

/// A loop device that nobody can begin to use: mounting, swapon and device-mapper are refused while this lives.
class HeldLoop {
 public:
  /// Errors: EBUSY while it, or a partition of it, is mounted or part of something else.
  [[nodiscard]] static Result<HeldLoop> hold(const std::string& name);
  /// What was written to it reaches the file.
  [[nodiscard]] Result<> flush();
  /// Lets go of the file, and waits until the kernel has. Errors: EBUSY when somebody has it open after `patience`; it
  /// is then let go of with the last close.
  [[nodiscard]] Result<> detach(std::chrono::milliseconds patience);

 private:
  HeldLoop(std::string name, std::string file, Descriptor descriptor)
      : name_(std::move(name)), file_(std::move(file)), descriptor_(std::move(descriptor)) {}

  std::string name_;
  std::string file_;
  Descriptor descriptor_;
};

/// Lets go of `file` without waiting; for a device in use, with its last close.
void release_loop(const std::string& device, const std::string& file);

}  // namespace penstock::cli
