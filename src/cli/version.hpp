// SPDX-License-Identifier: Apache-2.0
/// Which version this is, and what it is built with.
#pragma once

#include <string>

namespace penstock::cli {

/// "0.1.0"
[[nodiscard]] const char* program_version();
/// What `penstock --version` prints: "penstock 0.1.0", and below it what the program is built with, a line each.
[[nodiscard]] std::string version_text();

}  // namespace penstock::cli
