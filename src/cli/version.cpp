// SPDX-License-Identifier: Apache-2.0
#include "cli/version.hpp"

#include <penstock/features.hpp>
#include <penstock/format.hpp>

#include "base/text.hpp"
#include "fuse/features.hpp"

namespace penstock::cli {

const char* program_version() {
  return PENSTOCK_VERSION;
}

std::string version_text() {
  const auto fuse = fuse::features();
  const auto yes = [](bool is) { return is ? "yes" : "no"; };
  std::string formats_known;
  for (const Format* format : formats()) formats_known += concat(formats_known.empty() ? "" : ", ", format->name);
  std::string protocols;
  for (const auto& protocol : storage_protocols()) protocols += concat(protocols.empty() ? "" : ", ", protocol);
  return concat("penstock " PENSTOCK_VERSION "\nformats: ", formats_known, "\ntransports: ", protocols,
                "\ncompression: " PENSTOCK_COMPRESSION "\nlibfuse: ", fuse.libfuse_running, " (built with ",
                fuse.libfuse_built, ")\nfuse over io_uring: ", yes(fuse.io_uring),
                "\nfuse passthrough: ", yes(fuse.passthrough), "\nprobes: ", fuse.probes ? "USDT" : "no");
}

}  // namespace penstock::cli
