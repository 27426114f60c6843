// SPDX-License-Identifier: Apache-2.0
/// Compression and decompression of one cluster. Source: penstock-formats(5), "qcow2: compressed clusters".
#pragma once

#include <penstock/error.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace penstock::qcow2 {

/// Fills all of `cluster` from `packed` and ignores what follows. `type`: 0 raw deflate, 1 zstd.
/// Threads: any; keeps a decoder for each. Errors: EUCLEAN for data that does not yield the whole cluster, ENOMEM.
[[nodiscard]] Result<> unpack_cluster(std::uint8_t type, std::span<const std::byte> packed,
                                      std::span<std::byte> cluster);

/// Compresses all of `cluster`; nothing when it does not get smaller. Levels and windows are QEMU's.
/// Threads: any; keeps an encoder for each. Errors: ENOMEM.
[[nodiscard]] Result<std::optional<std::vector<std::byte>>> pack_cluster(std::uint8_t type,
                                                                         std::span<const std::byte> cluster);

}  // namespace penstock::qcow2
