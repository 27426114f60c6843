// SPDX-License-Identifier: Apache-2.0
#include "cli/completion_shells.hpp"

#include "base/text.hpp"

#include <string_view>

namespace penstock::cli {

namespace {

constexpr std::string_view kZshTail = R"sh(
_penstock_mountpoints() {
  local -a found
  found=(${(g::)${(f)"$(awk '$3 == "fuse.penstock" { gsub(/\\/, "\\0", $2); print $2 }' /proc/self/mounts)"}})
  compadd -f -a found
}

_penstock "$@"
)sh";

std::string zsh_action(const ValueModel& value) {
  switch (value.kind) {
    case ValueKind::none:
      return {};
    case ValueKind::text:
      return concat(":", value.name, ": ");
    case ValueKind::words:
      return concat(":", value.name, ":(", joined(value.words), ")");
    case ValueKind::file:
    case ValueKind::device:
      return concat(":", value.name, ":_files");
    case ValueKind::mountpoint:
      return concat(":", value.name, ":_penstock_mountpoints");
  }
  return {};
}

/// The colon and brackets mean something to _arguments.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char character : text)
    out += concat(std::string_view(":[]\\").find(character) != std::string_view::npos ? "\\" : "", character);
  return out;
}

std::string zsh_options(const std::vector<OptionModel>& options) {
  std::string out;
  for (auto option : options) {
    option.value.name = zsh_text(option.value.name);
    for (const auto& flag : option.flags) {
      // A long flag takes its value behind a blank or a "=".
      const std::string_view joint = option.value.kind != ValueKind::none && flag.starts_with("--") ? "=" : "";
      const std::string others = option.flags.size() > 1 ? concat('(', joined(option.flags), ')') : "";
      out +=
          concat(" \\\n        ",
                 single_quoted(concat(others, flag, joint, '[', zsh_text(option.help), ']', zsh_action(option.value))));
    }
  }
  return out;
}

}  // namespace

std::string zsh_script(const std::vector<OptionModel>& own, const std::vector<CommandModel>& commands) {
  std::string names;
  std::string cases;
  for (const auto& command : commands) {
    names += concat("    ", single_quoted(concat(command.name, ':', zsh_text(command.help))), '\n');
    cases += concat("    ", command.name, ")\n      _arguments", zsh_options(command.options));
    for (std::size_t at = 0; at < command.positionals.size(); ++at) {
      auto value = command.positionals[at].value;
      value.name = zsh_text(value.name);
      const bool last = at + 1 == command.positionals.size();
      cases += concat(" \\\n        ", single_quoted(concat(last ? "*" : concat(at + 1), zsh_action(value))));
    }
    cases += "\n      ;;\n";
  }
  return concat(
      "#compdef penstock\n# Made by 'penstock --print-completion zsh'.\n\n_penstock() {\n  local line state\n  local "
      "-a "
      "commands\n  commands=(\n",
      names, "  )\n  _arguments -C", zsh_options(own),
      " \\\n        '1:command:->command' '*::argument:->arguments' && return\n  if [[ $state == command ]]; then\n"
      "    _describe command commands\n    return\n  fi\n  case $line[1] in\n",
      cases, "  esac\n}\n", kZshTail);
}

}  // namespace penstock::cli
