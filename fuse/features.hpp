// SPDX-License-Identifier: Apache-2.0
/// What the mount is built on.
#pragma once

#include <string>

namespace penstock::fuse {

struct Features {
  std::string libfuse_built;    ///< version of the headers, "3.14"
  std::string libfuse_running;  ///< version of the library, "3.14.0"
  bool io_uring = false;        ///< requests over io_uring instead of /dev/fuse
  bool passthrough = false;     ///< the kernel reads and writes the image's file by itself
  bool probes = false;          ///< fuse/probes.hpp
};
[[nodiscard]] Features features();

}  // namespace penstock::fuse
