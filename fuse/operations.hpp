// SPDX-License-Identifier: Apache-2.0
/// One kernel request is one call of the view.
#pragma once

#include "fuse/mount_options.hpp"
#include "fuse/request.hpp"
#include "fuse/view.hpp"

#include <map>
#include <optional>
#include <string>

namespace penstock::fuse {

/// What each operation works on. Constant once requests are served, but for the view itself.
struct FileSystem {
  View& view;
  std::string name;  ///< of the file in the mounted directory; empty: the root of the mount is the file itself
  std::map<std::string, std::string, std::less<>> attributes;  ///< extended: "user.penstock.control" and its value
  std::uint32_t max_read = kTransferMax;
  std::uint32_t max_write = kTransferMax;
  bool writeback = false;
  std::optional<uid_t> only_user = {};  ///< beside root, of those that the kernel lets in (allow_root)
  std::optional<int> backing_id = {};   ///< the kernel reads and writes this file by itself (passthrough)
};

/// Answers, or leaves it unanswered: the request must not wait, but has to. Nothing has happened then, and it is served
/// again
/// where it may. The request may be gone once it is answered. Threads: any. Exceptions end here. Source: linux/fuse.h.
void serve_request(FileSystem& system, Request& request);

}  // namespace penstock::fuse
