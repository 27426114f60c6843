// SPDX-License-Identifier: Apache-2.0
/// JSON as qemu-img prints it: four spaces a level, keys in the order given, a line break at the end.
#pragma once

#include "base/json.hpp"

#include <string>

namespace penstock::cli {

/// Names from an image may hold any bytes: what is no UTF-8 becomes U+FFFD, what is no ASCII is escaped.
[[nodiscard]] std::string json_text(const Json& value);

}  // namespace penstock::cli
