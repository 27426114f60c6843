// SPDX-License-Identifier: Apache-2.0
/// What `info` shows of a qcow2 image.
#pragma once

#include "format/qcow2/header.hpp"

namespace penstock::qcow2 {

/// In the words and the order of qemu-img info (which puts the bitmaps before "refcount bits"). A snapshot table or
/// bitmap directory that cannot be read is shown as an item instead of failing the rest.
/// Errors: EIO.
[[nodiscard]] Result<FormatInfo> describe(Storage& storage, const Header& header);

}  // namespace penstock::qcow2
