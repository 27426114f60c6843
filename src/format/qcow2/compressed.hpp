// SPDX-License-Identifier: Apache-2.0
/// Decompression of one cluster. Source: penstock-formats(5), "qcow2: compressed clusters".
#pragma once

#include <penstock/error.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock::qcow2 {

/// Fills all of `cluster` from `packed` and ignores what follows. `type`: 0 raw deflate, 1 zstd.
/// Threads: any; keeps a decoder for each. Errors: EUCLEAN for data that does not yield the whole cluster, ENOMEM.
[[nodiscard]] Result<> unpack_cluster(std::uint8_t type, std::span<const std::byte> packed,
                                      std::span<std::byte> cluster);

}  // namespace penstock::qcow2
