// SPDX-License-Identifier: Apache-2.0
/// Walking a disk in pieces that several threads work on.
#pragma once

#include <penstock/convert.hpp>

#include <span>

namespace penstock {

/// Bytes of one piece, unless clusters are larger; a power of two.
inline constexpr std::uint32_t kCopyChunkMin = 1U << 20U;
/// Memory of one thread's buffer at most.
inline constexpr std::uint32_t kCopyChunkMax = 2U << 20U;

struct ChunkWork {
  std::uint64_t size = 0;         ///< of the disk, bytes
  std::uint32_t chunk_bytes = 0;  ///< pieces begin at multiples of this
  unsigned buffers = 1;           ///< of chunk_bytes, for each thread
  const CopyOptions& options;
  /// Bytes at the start of `rest` that need no work, by the maps; 0: the piece there is to be worked on. One thread at
  /// a time, in order.
  std::function<Result<std::uint64_t>(GuestRange rest)> skip;
  /// Any thread; `memory` has buffers * chunk_bytes bytes.
  std::function<Result<>(GuestRange piece, std::span<std::byte> memory)> work;
};

/// Errors: the first of any thread; the others stop with their next piece.
[[nodiscard]] Result<> work_in_chunks(Executor& executor, const ChunkWork& work);

/// Of a piece that fits an Image's clusters: their size, within the bounds above.
[[nodiscard]] std::uint32_t chunk_bytes_for(const Image& image);

[[nodiscard]] inline bool reads_zero(const Extent& extent) {
  return extent.kind == ExtentKind::zero || extent.kind == ExtentKind::unallocated;
}

}  // namespace penstock
