// SPDX-License-Identifier: Apache-2.0
/// What `mount` and `attach` share: the flags of a mount and what they mean.
#pragma once

#include "cli/command.hpp"

#include "fuse/service.hpp"

#include <penstock/image.hpp>

#include <string>
#include <vector>

namespace penstock::cli {

struct MountFlags {
  std::string image;
  std::string format;
  bool read_only = false;
  bool stream = false;
  bool no_stream = false;
  std::string stream_speed;
  std::string stream_base;
  std::string on_error = "report";
  bool copy_on_read = false;
  bool no_copy_on_read = false;
  std::string detect_zeroes = "off";
  std::string discard = "unmap";
  bool resizable = false;
  unsigned threads = 0;
  std::string cache_size;
  bool foreground = false;
  bool no_data_file = false;
  std::string log_level = "info";
  std::string trace;
  std::string trace_limit;
  std::vector<std::string> fuse_options;
};

/// All of them, and the positional IMAGE.
[[nodiscard]] std::vector<Option> mount_options(MountFlags& flags);

/// What the flags mean, before anything is touched; `serve.mountpoint` is left to the caller. Errors: usage.
[[nodiscard]] Result<> interpret_mount_flags(const MountFlags& flags, ImageOptions& image, fuse::ServeOptions& serve);

}  // namespace penstock::cli
