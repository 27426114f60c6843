// SPDX-License-Identifier: Apache-2.0
/// QEMU's byte-range locks: how several programs agree on who may write an image.
#pragma once

#include <penstock/error.hpp>

#include <cstdint>

namespace penstock {

enum class LockMode : std::uint8_t {
  read,   ///< reads, and lets nobody write or resize
  write,  ///< reads, writes and resizes, and lets nobody else write or resize
};

/// Takes QEMU's locks on an open file. They belong to the open file description: they outlive fork(2) and end when the
/// last descriptor of it is closed. Needs a descriptor open for reading.
/// Threads: any. Errors: EAGAIN when another process (or another open of this one) is in the way, with all locks given
/// back; otherwise the errno of fcntl(2). Source: QEMU, block/file-posix.c, raw_check_lock_bytes().
[[nodiscard]] Result<> take_qemu_locks(int descriptor, LockMode mode);

}  // namespace penstock
