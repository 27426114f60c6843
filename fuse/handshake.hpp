// SPDX-License-Identifier: Apache-2.0
/// The first request of the kernel (FUSE_INIT), which says what it can do, and our answer, which says what we want.
#pragma once

#include "fuse/operations.hpp"

#include <penstock/error.hpp>

namespace penstock::fuse {

/// What the kernel offers beyond what every kernel has.
struct Offer {
  std::uint64_t unique = 0;
  std::uint32_t max_readahead = 0;
  std::uint32_t flags = 0;
  std::uint32_t flags2 = 0;  ///< the next 32

  [[nodiscard]] bool io_uring() const noexcept { return (flags2 & protocol::kOverIoUring2) != 0; }
  [[nodiscard]] bool passthrough() const noexcept { return (flags2 & protocol::kPassthrough2) != 0; }
};

/// Waits for the offer, which the kernel makes as soon as it has mounted. Errors: EPROTO when it is something else.
[[nodiscard]] Result<Offer> receive_offer(int device);

/// After this, requests come. `flags2`: what is wanted of the offer's.
[[nodiscard]] Result<> accept_offer(int device, const Offer& offer, const FileSystem& system, std::uint32_t flags2);

/// The longest data that one request or answer carries, as the kernel works it out from our answer.
/// Source: the kernel's fs/fuse/dev_uring.c, fuse_uring_create.
[[nodiscard]] std::uint32_t payload_bytes_max(const FileSystem& system);

}  // namespace penstock::fuse
