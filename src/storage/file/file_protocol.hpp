// SPDX-License-Identifier: Apache-2.0
/// Files and block devices of this machine: "file:", and plain paths.
#pragma once

#include "storage/protocol.hpp"

#include <sys/stat.h>

namespace penstock {

extern const Protocol kFileProtocol;

/// StorageFacts::identity. Two device nodes of one device are the same. Source: stat(2).
[[nodiscard]] std::string file_identity(const struct stat& status);

}  // namespace penstock
