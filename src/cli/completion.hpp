// SPDX-License-Identifier: Apache-2.0
/// Completion scripts for shells, made from the one definition of the command line.
#pragma once

#include <penstock/error.hpp>

#include <CLI/CLI.hpp>

#include <string>

namespace penstock::cli {

/// `shell`: bash, zsh or fish. `app` has all its subcommands. Errors: EINVAL for another shell.
[[nodiscard]] Result<std::string> completion_script(const CLI::App& app, const std::string& shell);

}  // namespace penstock::cli
