// SPDX-License-Identifier: Apache-2.0
/// How much a streaming job still has to copy.
#pragma once

#include <penstock/image.hpp>

#include <chrono>
#include <cstdint>

namespace penstock {

/// Bytes of the disk, by who has its data. What reads as zero is in neither: it costs next to nothing.
struct CopyAmounts {
  std::uint64_t data = 0;     ///< the top layer
  std::uint64_t to_copy = 0;  ///< a layer that is to go
  bool estimated = false;     ///< from a part of the disk
};

/// 100 only with nothing to copy.
[[nodiscard]] unsigned percent_of(const CopyAmounts& amounts);

/// Looks through the tables of the layers. Where that takes longer than `patience`, it looks at places spread over the
/// disk instead. `base`: as Image::populate() has it. `passed`: before this nothing is still to be copied: what is
/// missing there was found to be zero. Threads: any call beside any other. Errors: those of the layers.
[[nodiscard]] Result<CopyAmounts> count_amounts(Image& image, const Layer* base, GuestOffset passed,
                                                std::chrono::milliseconds patience = std::chrono::milliseconds(50));

}  // namespace penstock
