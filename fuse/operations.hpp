// SPDX-License-Identifier: Apache-2.0
/// One kernel request is one call of the view.
#pragma once

#include "fuse/libfuse.hpp"
#include "fuse/mount_options.hpp"
#include "fuse/view.hpp"

#include <map>
#include <string>

namespace penstock::fuse {

/// What libfuse hands to each operation. Constant while mounted, but for the view itself.
struct FileSystem {
  View& view;
  std::string name;  ///< of the file in the mounted directory; empty: the root of the mount is the file itself
  std::map<std::string, std::string> attributes;  ///< extended: "user.penstock.control" and its value
  std::uint32_t max_read = kTransferMax;
  std::uint32_t max_write = kTransferMax;
  bool writeback = false;
};

/// The table for fuse_session_new(), whose userdata is a FileSystem.
/// Threads: any operation beside any other. Exceptions end here.
[[nodiscard]] const fuse_lowlevel_ops& operations();

}  // namespace penstock::fuse
