// SPDX-License-Identifier: Apache-2.0
/// What this build of the library can do.
#pragma once

#include <string>
#include <vector>

namespace penstock {

/// What may stand before the ':' of a name: "file" and the like. Of the formats, formats() tells.
[[nodiscard]] std::vector<std::string> storage_protocols();

}  // namespace penstock
