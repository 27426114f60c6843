// SPDX-License-Identifier: Apache-2.0
/// Reading requests from /dev/fuse and writing answers, as libfuse asks for it.
#pragma once

#include "fuse/libfuse.hpp"

#include <penstock/error.hpp>

namespace penstock::fuse {

/// Makes `session`, which is mounted already, read and write its device through functions of ours. They differ from
/// libfuse's own in the first answer only: it says that the file system keeps no set-user-ID bits and no
/// capabilities (FUSE_HANDLE_KILLPRIV_V2, which libfuse 3.14 does not know), since otherwise the kernel asks for the
/// attribute security.capability before each write, which doubles the cost of small writes.
/// Source: linux/fuse.h; the kernel's fs/fuse/inode.c, process_init_reply.
[[nodiscard]] Result<> use_own_device(fuse_session* session);

}  // namespace penstock::fuse
