// SPDX-License-Identifier: Apache-2.0
#include "fuse/ways.hpp"

#include "base/descriptor.hpp"
#include "base/text.hpp"
#include "control/socket.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace penstock::fuse {

namespace {

/// The image's file, if the kernel is to read and write it by itself; else none.
Descriptor file_to_pass_through(const Image& image, const std::vector<LayerInfo>& layers, const ServeOptions& options) {
  // Only on request: the kernel knows nothing of the end of the disk, behind which a write makes the file longer,
  // nobody is told of a file that somebody else cuts off, and nothing is counted. What we are to do with it must come
  // to us.
  const auto& facts = layers.front().facts;
  const bool alone = layers.size() == 1 && layers.front().capabilities.always_in_place && facts.descriptor >= 0;
  if (!options.mount.passthrough.value_or(false) || !alone || geteuid() != 0 || options.mount.writeback ||
      options.resizable || !options.trace.empty() || options.detect_zeroes != "off") {
    return {};
  }
  // The one that is open: its name may be another file's by now.
  Descriptor file(fcntl(facts.descriptor, F_DUPFD_CLOEXEC, 0));
  struct stat status{};
  const bool same = file && fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) &&
                    static_cast<std::uint64_t>(status.st_size) == image.virtual_size();
  return same ? std::move(file) : Descriptor();
}

}  // namespace

bool is_on_network(const std::vector<LayerInfo>& layers) {
  // It has to wait always, and is no faster for a ring before it.
  return std::ranges::any_of(layers, [](const LayerInfo& layer) { return layer.facts.waits == Waits::network; });
}

Result<std::unique_ptr<Session>> mount_session(FileSystem& system, const Image& image,
                                               const std::vector<LayerInfo>& layers, const ServeOptions& options,
                                               Unmounter& unmounter, unsigned threads) {
  if (options.mount.allow_root) system.only_user = getuid();
  const Descriptor plain_file = file_to_pass_through(image, layers, options);
  const Wishes wishes{.io_uring = wants_rings(options.mount) && !is_on_network(layers),
                      .ring_threads = threads,
                      .passthrough = static_cast<bool>(plain_file)};
  auto session = TRY(Session::mount(system, options.mountpoint, options.mount, layers.front().path, !image.writable(),
                                    wishes, unmounter));
  if (session->passes_through()) {
    // While we have the right to.
    if (const auto number = session->share_file(plain_file.get())) system.backing_id = *number;
  }
  return session;
}

std::string describe_way(const Session& session, const FileSystem& system, const MountOptions& options,
                         bool on_network) {
  std::string out = "requests over ";
  if (const auto* const rings = session.rings(); rings != nullptr) {
    out += concat("io_uring, queue depth ", rings->depth());
  } else {
    std::string why = session.no_rings_because();
    if (why.empty() && options.io_uring.value_or(false)) {
      why = on_network ? "the image is read over a network" : "the kernel does not offer io_uring";
    }
    out += concat("/dev/fuse", why.empty() ? "" : concat(" (", why, ")"));
  }
  if (system.backing_id) return out + "; the kernel reads and writes the image by itself (passthrough)";
  return options.passthrough.value_or(false) ? out + "; no passthrough here" : out;
}

}  // namespace penstock::fuse
