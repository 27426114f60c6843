// SPDX-License-Identifier: Apache-2.0
/// Image formats that penstock tells apart from raw but does not read.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace penstock {

/// The name of the format whose magic `head` (the first 512 bytes, fewer when the file is shorter) carries; empty:
/// none. Source: the probe functions of QEMU's block drivers.
[[nodiscard]] std::string_view foreign_format(std::span<const std::byte> head);

}  // namespace penstock
