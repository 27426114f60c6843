// SPDX-License-Identifier: Apache-2.0
/// How much of the disk the top layer has, in numbers and as a picture.
#pragma once

#include "base/json.hpp"
#include "fuse/statistics.hpp"

#include <penstock/image.hpp>

#include <cstdint>
#include <optional>

namespace penstock::fuse {

/// Bytes of the disk by what the top layer says of them: "data", "zero", "missing" (still comes from below) and
/// "known-zero" (nobody has it). A fragmented disk is looked at in places that are spread over it; then "estimated" is
/// true.
[[nodiscard]] Result<Json> describe_provisioned(Image& image);

/// One character for each of `cells` equal parts of the disk: `.` missing, `#` data, `z` zero or nothing, `w` written
/// by the guest since the mount, `>` where `copying_at` lies. A part is what most of it is, by a few samples.
[[nodiscard]] Result<std::string> draw_cells(Image& image, const Statistics& statistics, std::uint32_t cells,
                                             std::optional<std::uint64_t> copying_at);

}  // namespace penstock::fuse
