// SPDX-License-Identifier: Apache-2.0
/// "-o key=value,key=value" as QEMU reads and prints it: a comma inside a value is doubled.
#pragma once

#include <penstock/error.hpp>

#include <map>
#include <string>
#include <string_view>

namespace penstock::cli {

/// Adds what `text` holds to `options`; a later value wins. A key without "=" means "on", "nokey" is not special.
/// Errors: EINVAL for an empty key or list.
[[nodiscard]] Result<> add_options(std::string_view text, std::map<std::string, std::string>& options);

/// Whether `text` asks for the list of options: "help" or "?" as one of its items.
[[nodiscard]] bool asks_for_help(std::string_view text);

}  // namespace penstock::cli
