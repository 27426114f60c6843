// SPDX-License-Identifier: Apache-2.0
#include "cli/completion_model.hpp"

#include "cli/parser.hpp"

#include <penstock/format.hpp>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace penstock::cli {

namespace {

ValueModel value_of(const std::string& name, const OptionRules& rules, const std::string& command) {
  ValueModel out{.kind = ValueKind::text, .words = rules.choices, .name = name};
  const auto ends_with = [&out](std::string_view word) { return out.name.ends_with(word); };
  if (!out.words.empty()) {
    out.kind = ValueKind::words;
  } else if (name == "FMT") {
    out.kind = ValueKind::words;
    for (const Format* format : formats()) out.words.emplace_back(format->name);
  } else if (ends_with("MOUNTPOINT")) {
    // Before a mount, any place will do.
    out.kind = command == "mount" || command == "attach" ? ValueKind::file : ValueKind::mountpoint;
  } else {
    constexpr std::array<std::string_view, 8> kFiles{"FILE",   "IMAGE",  "IMAGE1",  "IMAGE2",
                                                     "SOURCE", "TARGET", "BACKING", "BASE"};
    if (std::ranges::find(kFiles, out.name) != kFiles.end()) out.kind = ValueKind::file;
    if (ends_with("DEVICE")) out.kind = ValueKind::device;
  }
  return out;
}

OptionModel help_option() {
  return {.flags = flags_of(kHelpFlag), .value = {}, .help = kHelpText};
}

PositionalModel positional_of(const Option& argument, const std::string& command) {
  PositionalModel out{.value = value_of(argument.value, argument.rules, command), .before = std::nullopt};
  if (const auto& before = argument.rules.value_before; !before.empty()) {
    out.before = {.first_word = argument.rules.first_word, .value = value_of(before, {}, command)};
  }
  return out;
}

}  // namespace

CommandModel command_model(const Command& command) {
  CommandModel out{.name = command.name, .help = command.help, .options = {help_option()}, .positionals = {}};
  for (const Option& option : command.options) {
    if (option.is_argument()) {
      out.positionals.push_back(positional_of(option, command.name));
    } else {
      ValueModel value;
      if (!option.is_flag()) value = value_of(option.value, option.rules, command.name);
      out.options.push_back({.flags = flags_of(option.names), .value = std::move(value), .help = option.help});
    }
  }
  return out;
}

std::vector<OptionModel> program_options() {
  return {{.flags = flags_of(kVersionFlag), .value = {}, .help = kVersionText}, help_option()};
}

}  // namespace penstock::cli
