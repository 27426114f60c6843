// SPDX-License-Identifier: Apache-2.0
/// Completion scripts for shells, made from the one definition of the command line.
#pragma once

#include "cli/command.hpp"

#include <string>
#include <vector>

namespace penstock::cli {

/// `shell`: bash, zsh or fish. Errors: EINVAL for another shell.
[[nodiscard]] Result<std::string> completion_script(const std::vector<Command>& commands, const std::string& shell);

}  // namespace penstock::cli
