// SPDX-License-Identifier: Apache-2.0
#include "fuse/features.hpp"

#include "base/text.hpp"
#include "fuse/libfuse.hpp"

namespace penstock::fuse {

Features features() {
  Features out{.libfuse_built = concat(FUSE_MAJOR_VERSION, '.', FUSE_MINOR_VERSION),
               .libfuse_running = fuse_pkgversion()};
#ifdef PENSTOCK_PROBES
  out.probes = true;
#endif
  out.io_uring = true;
  out.passthrough = true;
  return out;
}

}  // namespace penstock::fuse
