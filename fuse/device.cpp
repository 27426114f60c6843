// SPDX-License-Identifier: Apache-2.0
#include "fuse/device.hpp"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

namespace penstock::fuse {

namespace {

/// What the first request (FUSE_INIT) offered. One session a process: the daemon serves one view.
std::atomic<bool> init_pending{false};
std::atomic<std::uint32_t> offered_flags{0};

ssize_t read_request(int device, void* buffer, std::size_t length, void* /*view*/) {
  const ssize_t got = ::read(device, buffer, length);
  struct First {
    fuse_in_header header;
    fuse_init_in init;
  } first;
  constexpr std::size_t kNeeded = sizeof(fuse_in_header) + offsetof(fuse_init_in, flags) + sizeof(first.init.flags);
  if (got >= static_cast<ssize_t>(kNeeded)) {
    std::memcpy(&first, buffer, kNeeded);
    if (first.header.opcode == FUSE_INIT) {
      offered_flags = first.init.flags;
      init_pending = true;
    }
  }
  return got;
}

ssize_t write_answer(int device, iovec* pieces, int count, void* /*view*/) {
  // The first answer is libfuse's fuse_out_header and fuse_init_out.
  if (init_pending.load(std::memory_order_relaxed) && count == 2 && pieces[1].iov_len >= sizeof(fuse_init_out)) {
    init_pending = false;
    fuse_init_out answer;
    std::memcpy(&answer, pieces[1].iov_base, sizeof answer);
    // An aborted connection then reads ECONNABORTED, which an unmounted one does not.
    answer.flags |= offered_flags.load() & (FUSE_HANDLE_KILLPRIV_V2 | FUSE_ABORT_ERROR);
    std::memcpy(pieces[1].iov_base, &answer, sizeof answer);
  }
  return ::writev(device, pieces, count);
}

}  // namespace

Result<> use_own_device(fuse_session* session) {
  fuse_custom_io functions{};
  functions.read = read_request;
  functions.writev = write_answer;
  const int failed = fuse_session_custom_io(session, &functions, fuse_session_fd(session));
  if (failed != 0) return system_failure("cannot set up the FUSE session", failed < 0 ? -failed : EIO);
  return {};
}

}  // namespace penstock::fuse
