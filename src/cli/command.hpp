// SPDX-License-Identifier: Apache-2.0
/// What a subcommand is: options added to the parser, and what to run when it was chosen.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>

namespace penstock::cli {

/// Filled by the callback of the subcommand that the command line names; run by main() once all of it was parsed.
struct Command {
  std::function<int()> run;  ///< gives the exit status
};

// One line a subcommand, in the order in which `penstock --help` lists them; the same order as in main.cpp.
void add_mount(CLI::App& app, Command& chosen);
void add_umount(CLI::App& app, Command& chosen);
void add_attach(CLI::App& app, Command& chosen);
void add_detach(CLI::App& app, Command& chosen);
void add_status(CLI::App& app, Command& chosen);
void add_stream(CLI::App& app, Command& chosen);
void add_trace(CLI::App& app, Command& chosen);
void add_create(CLI::App& app, Command& chosen);
void add_info(CLI::App& app, Command& chosen);
void add_map(CLI::App& app, Command& chosen);
void add_check(CLI::App& app, Command& chosen);
void add_compare(CLI::App& app, Command& chosen);
void add_convert(CLI::App& app, Command& chosen);
void add_rebase(CLI::App& app, Command& chosen);
void add_commit(CLI::App& app, Command& chosen);
void add_measure(CLI::App& app, Command& chosen);
void add_resize(CLI::App& app, Command& chosen);
void add_io(CLI::App& app, Command& chosen);

}  // namespace penstock::cli
