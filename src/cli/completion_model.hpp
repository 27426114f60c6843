// SPDX-License-Identifier: Apache-2.0
/// What a shell needs to know of the command line.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace penstock::cli {

enum class ValueKind : std::uint8_t {
  none,        ///< a flag without a value
  text,        ///< nothing that could be offered
  words,       ///< one of a few
  file,        ///< or a directory
  mountpoint,  ///< where penstock has mounted something
  device,      ///< a loop device that penstock attached
};

struct ValueModel {
  ValueKind kind = ValueKind::none;
  std::vector<std::string> words;
  std::string name;  ///< "FILE", for people
};

struct OptionModel {
  std::vector<std::string> flags;  ///< "-f", "--format"; none for a positional
  ValueModel value;
  std::string help;
};

struct CommandModel {
  std::string name;
  std::string help;
  std::vector<OptionModel> options;
  std::vector<OptionModel> positionals;  ///< the last one takes all further words, too
};

/// The commands in the order of --help; what is hidden there is left out.
[[nodiscard]] std::vector<CommandModel> command_models(const CLI::App& app);
/// The options of the program itself.
[[nodiscard]] std::vector<OptionModel> option_models(const CLI::App& command);

}  // namespace penstock::cli
