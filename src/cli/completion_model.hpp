// SPDX-License-Identifier: Apache-2.0
/// What a shell needs to know of the command line.
#pragma once

#include "cli/command.hpp"

#include <optional>
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
  std::vector<std::string> flags;  ///< "-f", "--format"
  ValueModel value;
  std::string help;
};

struct PositionalModel {
  ValueModel value;
  /// A word that stands before this one when the command's first word is `first_word`: the SPEED of "stream speed SPEED
  /// MOUNTPOINT".
  struct Before {
    std::string first_word;
    ValueModel value;
  };
  std::optional<Before> before;
};

struct CommandModel {
  std::string name;
  std::string help;
  std::vector<OptionModel> options;
  std::vector<PositionalModel> positionals;  ///< the last one takes all further words, too
};

[[nodiscard]] CommandModel command_model(const Command& command);
/// The options of the program itself.
[[nodiscard]] std::vector<OptionModel> program_options();

}  // namespace penstock::cli
