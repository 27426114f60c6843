// SPDX-License-Identifier: Apache-2.0
/// What `penstock --version` prints.
#pragma once

#include <string>

namespace penstock::cli {

/// "penstock 0.1.0", and below it what the program is built with, a line each.
[[nodiscard]] std::string version_text();

}  // namespace penstock::cli
