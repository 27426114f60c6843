// SPDX-License-Identifier: Apache-2.0
/// What shows through where the top layer has nothing.
#pragma once

#include "image/flat_map.hpp"
#include "image/layer.hpp"
#include "image/unpacked_cache.hpp"

namespace penstock {

/// The contents of the layers below the top, which never change.
/// Units: guest bytes, any alignment, any length: behind the end it is zero. Threads: any.
/// Errors: the failing layer's own, its name in front.
class Backing {
 public:
  /// `layers` is the whole chain, top first, and outlives this.
  Backing(const Layers& layers, UnpackedCache& unpacked, std::uint64_t map_budget_bytes)
      : layers_(layers), unpacked_(unpacked), map_(layers, map_budget_bytes) {}

  [[nodiscard]] Result<> read(GuestOffset offset, std::span<std::byte> out);

  /// Whom to ask: the maps alone, or the files for their holes, too, which is a call of the kernel.
  enum class Ask : std::uint8_t { maps, files };
  struct Content {
    bool zero = false;         ///< known to read as zero
    std::uint64_t length = 0;  ///< bytes for which that is so, at least 1
  };
  [[nodiscard]] Result<Content> content(GuestRange range, Ask ask = Ask::files);
  /// Whether all of `range` is known to read as zero.
  [[nodiscard]] Result<bool> reads_zero(GuestRange range);

  /// Memory in use by the flattened map.
  [[nodiscard]] std::uint64_t map_bytes() const { return map_.bytes(); }

 private:
  [[nodiscard]] Result<std::uint64_t> read_asking(unsigned depth, GuestOffset offset, std::span<std::byte> out);

  const Layers& layers_;
  UnpackedCache& unpacked_;
  FlatMap map_;
};

}  // namespace penstock
