// SPDX-License-Identifier: Apache-2.0
// The one file that knows CLI11, which takes the compiler longer to read than all commands together.
#include "cli/parser.hpp"

#include "cli/common.hpp"
#include "cli/completion_shells.hpp"
#include "cli/version.hpp"

#include "base/text.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <set>
#include <utility>

namespace penstock::cli {

namespace {

CLI::Validator converter(const OptionRules& rules) {
  return CLI::Validator(
      [convert = rules.convert](std::string& value) {
        auto converted = convert(value);
        if (!converted) return std::string(converted.error().message());
        value = *std::move(converted);
        return std::string();
      },
      concat('{', joined(rules.choices, ","), '}'));
}

void add_argument_rules(CLI::Option& made, const Option& option) {
  // As "[SPEED] MOUNTPOINT".
  const auto& before = option.rules.value_before;
  if (!before.empty()) made.type_name(concat('[', before, "] ", option.value))->expected(1, 2);
}

CLI::Option* add_option(CLI::App& app, const Option& option) {
  const auto& rules = option.rules;
  if (option.is_flag()) return app.add_flag(option.names, *std::get<bool*>(option.target), option.help);
  CLI::Option* const made =
      std::visit([&](auto* target) { return app.add_option(option.names, *target, option.help); }, option.target);
  made->type_name(option.value);
  if (option.is_argument()) {
    add_argument_rules(*made, option);
  } else if (std::holds_alternative<std::vector<std::string>*>(option.target)) {
    made->allow_extra_args(false);
  }
  if (rules.convert) {
    made->transform(converter(rules));
  } else if (!rules.choices.empty()) {
    made->check(CLI::IsMember(rules.choices));
  }
  if (rules.bounds.second != 0) made->check(CLI::Range(rules.bounds.first, rules.bounds.second));
  return made;
}

/// What of a command CLI11 is told: setting up an option costs it more than opening an image, and most lines name few.
class Wanted {
 public:
  Wanted(const Command& command, const std::vector<std::string>& words) : command_(command) {
    for (const std::string& word : words) {
      if (word.starts_with("--")) {
        long_names_.insert(word.substr(0, word.find('=')));
      } else if (word.starts_with('-')) {
        letters_ += word;  // "-rf" names two; a letter too many, of a value, does no harm
      }
    }
    // --help lists all.
    for (const std::string& name : flags_of(kHelpFlag)) all_ = all_ || is_named(name);
  }

  [[nodiscard]] bool operator()(const Option& option) const {
    if (all_ || option.is_argument() || option.rules.required || names(option)) return true;
    // Others ask for it by its name.
    return std::ranges::any_of(command_.options, [&](const Option& other) {
      return !other.rules.needs.empty() && has_name(option, other.rules.needs) && names(other);
    });
  }

 private:
  [[nodiscard]] bool is_named(const std::string& name) const {
    return name.starts_with("--") ? long_names_.contains(name) : letters_.find(name[1]) != std::string::npos;
  }

  [[nodiscard]] bool names(const Option& option) const {
    return std::ranges::any_of(flags_of(option.names), [this](const std::string& name) { return is_named(name); });
  }

  [[nodiscard]] static bool has_name(const Option& option, const std::string& name) {
    const auto names = flags_of(option.names);
    return std::ranges::find(names, name) != names.end();
  }

  const Command& command_;
  std::set<std::string> long_names_;
  std::string letters_;  ///< of the words that begin with one dash
  bool all_ = false;
};

CLI::App* add_command(CLI::App& app, const Command& command, const std::vector<std::string>& words) {
  CLI::App* const made = app.add_subcommand(command.name, command.help);
  const Wanted wanted(command, words);
  for (const Option& option : command.options) {
    if (!wanted(option)) continue;
    CLI::Option* const added = add_option(*made, option);
    if (option.rules.required) added->required();
    // These name options that stand further up.
    if (!option.rules.needs.empty()) added->needs(made->get_option(option.rules.needs));
    for (const std::string& other : option.rules.excludes) {
      // One that the line does not name is not there to be excluded.
      if (auto* const given = made->get_option_no_throw(other); given != nullptr) added->excludes(given);
    }
  }
  if (command.left_over != nullptr) made->allow_extras();
  return made;
}

/// CLI11's messages may span lines; ours are one.
std::string one_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  std::ranges::replace(text, '\n', ' ');
  return text;
}

}  // namespace

ParsedLine parse(const std::vector<Command>& commands, std::vector<std::string> words) {
  CLI::App app("Presents a layered disk image as one flat raw file.", "penstock");
  app.set_version_flag(kVersionFlag, version_text, kVersionText);
  app.set_help_flag(kHelpFlag, kHelpText);
  ParsedLine line;
  // For the build, which installs what it prints; in no group: not in --help.
  app.add_option("--print-completion", line.completion_shell)->group("");
  app.require_subcommand(0, 1);
  std::vector<CLI::App*> made;
  for (const Command& command : commands) made.push_back(add_command(app, command, words));
  // The command that was named, or the end when the line did not get that far.
  const auto named = [&made] { return std::ranges::find_if(made, [](const CLI::App* one) { return one->parsed(); }); };

  const std::string first = words.empty() ? "" : words.front();
  try {
    std::ranges::reverse(words);  // as CLI11 wants them
    app.parse(std::move(words));
  } catch (const CLI::Success& asked) {  // --help, --version
    static_cast<void>(app.exit(asked));
    std::cout.flush();
    line.status = finish_output(kSuccess);
    return line;
  } catch (const CLI::ParseError& problem) {
    // CLI11 finds a command missing before it finds the word that is none.
    if (app.get_subcommands().empty() && !first.empty() && first[0] != '-') {
      line.status = usage_error("", concat("unknown command '", first, "'"));
    } else {
      line.status = usage_error(named() == made.end() ? "" : (*named())->get_name(), one_line(problem.what()));
    }
    return line;
  }
  if (!line.completion_shell.empty()) return line;
  if (named() == made.end()) {
    line.status = usage_error("", "A subcommand is required");
    return line;
  }
  line.command = &commands[static_cast<std::size_t>(named() - made.begin())];
  if (line.command->left_over != nullptr) *line.command->left_over = (*named())->remaining();
  return line;
}

}  // namespace penstock::cli
