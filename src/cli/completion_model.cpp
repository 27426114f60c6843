// SPDX-License-Identifier: Apache-2.0
#include "cli/completion_model.hpp"

#include <penstock/format.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

namespace penstock::cli {

namespace {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> out;
  for (;;) {
    const auto end = text.find(separator);
    out.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

ValueModel value_of(const CLI::Option& option, const std::string& command) {
  // "FORMAT:{human,json}": CLI11 puts what checks the value behind its name.
  const std::string type = option.get_type_name();
  ValueModel out{.kind = ValueKind::text, .words = {}, .name = type.substr(0, type.find(':'))};
  const auto open = type.find('{');
  const auto close = type.find('}');
  const auto ends_with = [&out](std::string_view word) { return out.name.ends_with(word); };
  if (open != std::string::npos && close != std::string::npos && open < close) {
    out.kind = ValueKind::words;
    out.words = split(std::string_view(type).substr(open + 1, close - open - 1), ',');
  } else if (out.name == "FMT") {
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

OptionModel model_of(const CLI::Option& option, const std::string& command) {
  OptionModel out{.flags = {}, .value = {}, .help = option.get_description()};
  for (const auto& name : option.get_snames()) out.flags.push_back("-" + name);
  for (const auto& name : option.get_lnames()) out.flags.push_back("--" + name);
  if (option.get_expected_max() > 0) out.value = value_of(option, command);
  return out;
}

PositionalModel positional_of(const CLI::Option& option, const std::string& command) {
  PositionalModel out{.value = value_of(option, command), .before = std::nullopt};
  const auto close = out.value.name.find("] ");
  if (!out.value.name.starts_with('[') || close == std::string::npos) return out;
  const std::string name = out.value.name.substr(1, close - 1);
  std::string first_word = name;
  for (char& letter : first_word) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  out.before = {.first_word = first_word, .value = {.kind = ValueKind::text, .words = {}, .name = name}};
  out.value.name.erase(0, close + 2);
  return out;
}

}  // namespace

std::vector<OptionModel> option_models(const CLI::App& command) {
  std::vector<OptionModel> out;
  for (const CLI::Option* option : command.get_options()) {
    if (option->nonpositional() && !option->get_group().empty()) out.push_back(model_of(*option, command.get_name()));
  }
  return out;
}

std::vector<CommandModel> command_models(const CLI::App& app) {
  std::vector<CommandModel> out;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_group().empty()) continue;
    CommandModel model{.name = command->get_name(),
                       .help = command->get_description(),
                       .options = option_models(*command),
                       .positionals = {}};
    for (const CLI::Option* option : command->get_options()) {
      if (option->get_positional()) model.positionals.push_back(positional_of(*option, command->get_name()));
    }
    out.push_back(std::move(model));
  }
  return out;
}

}  // namespace penstock::cli
