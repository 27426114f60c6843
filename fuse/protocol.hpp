// SPDX-License-Identifier: Apache-2.0
/// The kernel's side of FUSE, with what the oldest headers that this is built with do not know yet.
/// Source: the kernel's include/uapi/linux/fuse.h, versions 7.40 (passthrough) and 7.42 (io_uring).
#pragma once

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace penstock::fuse::protocol {

/// What the kernel counts a request's data in.
inline constexpr std::size_t kPage = 4096;

// Bits 32 and up of the first request's flags, as they stand in flags2.
inline constexpr std::uint32_t kPassthrough2 = 1U << (37U - 32U);
inline constexpr std::uint32_t kOverIoUring2 = 1U << (41U - 32U);

inline constexpr std::uint32_t kOpenPassthrough = 1U << 7U;

/// fuse_init_out as it is now; the older one has the last fields unused.
struct InitOut {
  std::uint32_t major;
  std::uint32_t minor;
  std::uint32_t max_readahead;
  std::uint32_t flags;
  std::uint16_t max_background;
  std::uint16_t congestion_threshold;
  std::uint32_t max_write;
  std::uint32_t time_granularity;
  std::uint16_t max_pages;
  std::uint16_t map_alignment;
  std::uint32_t flags2;
  std::uint32_t max_stack_depth;
  std::uint32_t unused[6];
};
static_assert(sizeof(InitOut) == sizeof(fuse_init_out));

/// fuse_open_out as it is now.
struct OpenOut {
  std::uint64_t handle;
  std::uint32_t flags;
  std::int32_t backing_id;
};
static_assert(sizeof(OpenOut) == sizeof(fuse_open_out));

struct BackingMap {
  std::int32_t file;
  std::uint32_t flags;
  std::uint64_t padding;
};
inline constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);

/// What a ring entry shares with the kernel, beside its payload.
struct RingHeader {
  char in_out[128];        ///< fuse_in_header of the request, later fuse_out_header of the answer
  char operation_in[128];  ///< the operation's own structure
  std::uint64_t flags;
  std::uint64_t commit_id;
  std::uint32_t payload_bytes;
  std::uint32_t padding;
  std::uint64_t reserved;
};
static_assert(sizeof(RingHeader) == 288);

/// In the long half of the submission.
struct RingCommand {
  std::uint64_t flags;
  std::uint64_t commit_id;
  std::uint16_t queue;
  std::uint8_t padding[6];
};
inline constexpr std::uint32_t kRegister = 1;
inline constexpr std::uint32_t kCommitAndFetch = 2;

}  // namespace penstock::fuse::protocol
