// SPDX-License-Identifier: Apache-2.0
/// What a format says about one image, as `info` shows it.
#pragma once

#include "cli/json_text.hpp"

#include <penstock/format.hpp>

#include <string>

namespace penstock::cli {

/// The "data" object of "format-specific"; empty when the format has nothing of its own to say.
/// An item whose key has dots ("encrypt.format") stands inside an object.
[[nodiscard]] Json details_json(const FormatInfo& info);

/// "Format specific information:" and its lines, two names for the same object: keys with spaces instead of hyphens.
/// Empty when there is nothing.
[[nodiscard]] std::string details_text(const FormatInfo& info);

[[nodiscard]] Json snapshots_json(const FormatInfo& info);

/// "Snapshot list:" and its table; times are local. Empty without snapshots.
[[nodiscard]] std::string snapshots_text(const FormatInfo& info);

}  // namespace penstock::cli
