// SPDX-License-Identifier: Apache-2.0
/// JSON values by name alone: for headers, and for files that only hand them on. Whoever looks into one, makes or
/// destroys one includes <nlohmann/json.hpp>, which takes longer to compile than most files of ours.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace penstock {

/// Objects keep their keys in the order in which they were added.
using Json = nlohmann::ordered_json;

}  // namespace penstock
