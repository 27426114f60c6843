// SPDX-License-Identifier: Apache-2.0
/// How large an image file would become.
#pragma once

#include <penstock/image.hpp>

namespace penstock {

/// Bytes of the file or files of an image.
struct Measure {
  std::uint64_t required = 0;         ///< to hold the source; an upper bound
  std::uint64_t fully_allocated = 0;  ///< when every cluster is written
};

/// What `format` with `options` (create's) needs for a disk like `source`, or, when that is null, for an empty one of
/// `size` bytes. With a backing file among the options nothing is known of what it shares: all is counted.
/// Errors: EINVAL for options that create would refuse; the source's own.
[[nodiscard]] Result<Measure> measure_image(std::string_view format, const std::map<std::string, std::string>& options,
                                            Image* source, std::uint64_t size);

}  // namespace penstock
