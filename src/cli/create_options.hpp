// SPDX-License-Identifier: Apache-2.0
/// The list that `create -f FMT -o help` prints.
#pragma once

#include <penstock/error.hpp>

#include <string>
#include <string_view>

namespace penstock::cli {

/// "Supported qcow2 options:" and one line an option. Errors: EINVAL for an unknown format.
[[nodiscard]] Result<std::string> create_options_text(std::string_view format);

}  // namespace penstock::cli
