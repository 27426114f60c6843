// SPDX-License-Identifier: Apache-2.0
#include "fuse/handshake.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace penstock::fuse {

namespace {

using protocol::kPage;

constexpr std::uint32_t kMajor = 7;
constexpr std::uint32_t kMinor = 31;  // nothing that came later changes what we send, but the flags
constexpr std::uint16_t kBackgroundMax = 256;

std::uint16_t pages_max(const FileSystem& system) {
  return static_cast<std::uint16_t>((system.max_write + kPage - 1) / kPage);
}

}  // namespace

std::uint32_t payload_bytes_max(const FileSystem& system) {
  const auto pages = static_cast<std::uint32_t>(pages_max(system) * kPage);
  return std::max({std::uint32_t{FUSE_MIN_READ_BUFFER}, system.max_write, pages});
}

Result<Offer> receive_offer(int device) {
  alignas(8) std::array<std::byte, FUSE_MIN_READ_BUFFER> bytes;
  ssize_t got = 0;
  while ((got = ::read(device, bytes.data(), bytes.size())) < 0 && (errno == EINTR || errno == EAGAIN)) continue;
  if (got < 0) return system_failure("cannot read requests from /dev/fuse");
  fuse_in_header header{};
  fuse_init_in init{};
  const auto length = static_cast<std::size_t>(got);
  constexpr std::size_t kLeast = sizeof header + offsetof(fuse_init_in, flags2);
  std::memcpy(&header, bytes.data(), std::min(length, sizeof header));
  if (length < kLeast || header.opcode != FUSE_INIT) return fail(EPROTO, "the kernel's first request is not FUSE_INIT");
  std::memcpy(&init, &bytes[sizeof header], std::min(length - sizeof header, sizeof init));
  if (init.major != kMajor) return fail(EPROTO, "the kernel speaks another version of FUSE");
  Offer out{.unique = header.unique, .max_readahead = init.max_readahead, .flags = init.flags};
  if ((init.flags & FUSE_INIT_EXT) != 0) out.flags2 = init.flags2;
  return out;
}

Result<> accept_offer(int device, const Offer& offer, const FileSystem& system, std::uint32_t flags2) {
  // Without writeback caching a write(2) that has returned is in the image, and one behind the end of the disk fails at
  // once; with it, both wait for a flush, which is what a loop device or a file system above expects, and dd does not.
  // Only the kernel changes contents, so its cache is always right and need not be dropped when mtime changes.
  // The file system keeps no set-user-ID bits and no capabilities: otherwise the kernel asks for the attribute
  // security.capability before each write, which doubles the cost of small writes. An aborted connection reads
  // ECONNABORTED, which an unmounted one does not.
  std::uint32_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_ABORT_ERROR |
                         FUSE_MAX_PAGES | FUSE_EXPLICIT_INVAL_DATA | FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT;
  if (system.writeback) wanted |= FUSE_WRITEBACK_CACHE;
  protocol::InitOut init{};
  init.major = kMajor;
  init.minor = kMinor;
  init.max_readahead = offer.max_readahead;
  init.flags = offer.flags & wanted;
  init.flags2 = offer.flags2 & flags2;
  init.max_background = kBackgroundMax;
  init.congestion_threshold = kBackgroundMax / 4 * 3;
  init.max_write = system.max_write;
  init.time_granularity = 1;
  init.max_pages = pages_max(system);
  // No file system may be stacked on a view, and the image's file may lie on anything that is not stacked itself.
  if ((init.flags2 & protocol::kPassthrough2) != 0) init.max_stack_depth = 1;
  fuse_out_header header{};
  header.len = sizeof header + sizeof init;
  header.unique = offer.unique;
  std::array<iovec, 2> pieces{iovec{&header, sizeof header}, iovec{&init, sizeof init}};
  if (writev(device, pieces.data(), static_cast<int>(pieces.size())) < 0) {
    return system_failure("cannot set up the FUSE session");
  }
  return {};
}

}  // namespace penstock::fuse
