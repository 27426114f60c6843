// SPDX-License-Identifier: Apache-2.0
/// Reading what a layer maps to data, zero or compressed, each compressed cluster unpacked once for all its readers.
#pragma once

#include <penstock/format.hpp>

#include "image/sharded_cache.hpp"

#include <vector>

namespace penstock {

/// Unpacked clusters of all layers.
/// Bound: budget_bytes, or one cluster a shard if that is more. Threads: any.
class UnpackedCache {
 public:
  /// `cluster_size`: the largest of the layers that may have compressed clusters, 0 when none may.
  UnpackedCache(std::uint64_t budget_bytes, std::uint32_t cluster_size);

  /// Fills `out` with the guest bytes at `at` from a compressed `mapping` that the driver of layer `layer` gave for
  /// `at`, with at least out.size() bytes. The caller holds the cluster as FormatDriver::map() asks.
  [[nodiscard]] Result<> read(std::uint32_t layer, FormatDriver& driver, const Mapping& mapping, GuestOffset at,
                              std::span<std::byte> out);

  [[nodiscard]] std::uint64_t bytes() const { return cache_.bytes(); }

 private:
  struct Cluster {
    std::vector<std::byte> contents;
    [[nodiscard]] std::uint64_t memory_bytes() const { return contents.size(); }
  };
  /// `out` is the whole cluster.
  static Result<> unpack(FormatDriver& driver, const Mapping& mapping, std::span<std::byte> out);

  ShardedCache<Cluster> cache_;
};

}  // namespace penstock
