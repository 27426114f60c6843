// SPDX-License-Identifier: Apache-2.0
#include "cli/completion.hpp"

#include "cli/completion_model.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <string_view>

namespace penstock::cli {

namespace {

std::string joined(const std::vector<std::string>& words, std::string_view separator = " ") {
  std::string out;
  for (const auto& word : words) out += concat(out.empty() ? "" : separator, word);
  return out;
}

/// In single quotes, with `escaped` characters behind a backslash; the same for all three shells as long as no text has
/// a backslash of its own.
std::string single_quoted(std::string_view text, std::string_view escaped = {}) {
  std::string out = "'";
  for (const char character : text) {
    if (character == '\'') {
      out += "'\\''";
      continue;
    }
    if (escaped.find(character) != std::string_view::npos) out += '\\';
    out += character;
  }
  return out + '\'';
}

/// Fish knows \' within single quotes.
std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char character : text) out += concat(character == '\'' ? "\\" : "", character);
  return out + '\'';
}

constexpr std::string_view kBashHead = R"sh(# bash completion for penstock, made by 'penstock --print-completion bash'

# Each mountpoint of penstock's on a line.
_penstock_mountpoints() {
  local device path type rest
  while read -r device path type rest; do
    # The table writes a blank as \040.
    if [[ $type == fuse.penstock ]]; then printf '%b\n' "${path//\\/\\0}"; fi
  done </proc/self/mounts
}

# Each loop device that 'penstock attach' made on a line.
_penstock_devices() {
  local file backing
  for file in /sys/block/loop*/loop/backing_file; do
    backing=''
    { IFS= read -r backing <"$file"; } 2>/dev/null
    file=${file#/sys/block/}
    [[ $backing != */penstock/attach-* ]] || printf '/dev/%s\n' "${file%%/*}"
  done
}
)sh";

constexpr std::string_view kBashTail = R"sh(
_penstock() {
  local current=${COMP_WORDS[COMP_CWORD]} command='' expects='' first='' position=0 index word offers=()
  COMPREPLY=()
  # Bash takes --flag=value apart.
  [[ $current != '=' ]] || current=''
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    [[ $word != '=' ]] || continue
    if [[ -n $expects ]]; then
      expects=''
    elif [[ $word == -?* ]]; then
      expects=$(_penstock_value "$command $word")
    elif [[ -z $command ]]; then
      command=$word
    else
      [[ $position -gt 0 ]] || first=$word
      position=$((position + 1))
    fi
  done
  if [[ -z $expects ]]; then
    if [[ $current == -* ]]; then
      expects="words $(_penstock_flags "$command")"
    elif [[ -z $command ]]; then
      expects="words $(_penstock_commands)"
    else
      expects=$(_penstock_position "$command" "$position" "$first")
    fi
  fi
  case $expects in
    words*) mapfile -t offers < <(compgen -W "${expects#words}" -- "$current") ;;
    file)
      mapfile -t offers < <(compgen -f -- "$current")
      compopt -o filenames 2>/dev/null
      ;;
    mountpoint)
      while IFS= read -r word; do
        [[ $word != "$current"* ]] || offers+=("$word")
      done < <(_penstock_mountpoints)
      compopt -o filenames 2>/dev/null
      ;;
    device) mapfile -t offers < <(compgen -W "$(_penstock_devices)" -- "$current") ;;
  esac
  COMPREPLY=("${offers[@]}")
}

complete -F _penstock penstock
)sh";

std::string bash_value(const ValueModel& value) {
  switch (value.kind) {
    case ValueKind::none:
      return {};
    case ValueKind::text:
      return "text";
    case ValueKind::words:
      return concat("words ", joined(value.words));
    case ValueKind::file:
      return "file";
    case ValueKind::mountpoint:
      return "mountpoint";
    case ValueKind::device:
      return "device";
  }
  return {};
}

std::string bash_flags(const std::vector<OptionModel>& options) {
  std::string out;
  for (const auto& option : options) out += concat(out.empty() ? "" : " ", joined(option.flags));
  return out;
}

std::string bash_script(const CLI::App& app, const std::vector<CommandModel>& commands) {
  std::string names;
  std::string flags = concat("    '') echo ", single_quoted(bash_flags(option_models(app))), " ;;\n");
  std::string values;
  std::string positions;
  for (const auto& command : commands) {
    names += concat(names.empty() ? "" : " ", command.name);
    flags += concat("    ", command.name, ") echo ", single_quoted(bash_flags(command.options)), " ;;\n");
    for (const auto& option : command.options) {
      if (option.value.kind == ValueKind::none) continue;
      std::vector<std::string> patterns;
      for (const auto& flag : option.flags) patterns.push_back(single_quoted(concat(command.name, ' ', flag)));
      values += concat("    ", joined(patterns, " | "), ") echo ", single_quoted(bash_value(option.value)), " ;;\n");
    }
    for (std::size_t at = 0; at < command.positionals.size(); ++at) {
      const ValueModel& value = command.positionals[at].value;
      const bool last = at + 1 == command.positionals.size();
      // "[SPEED] MOUNTPOINT": another word comes before, after the action of that name.
      if (value.name.starts_with("[SPEED]")) {
        positions += concat("    '", command.name, " ", at, " speed') echo 'text' ;;\n");
      }
      positions += concat("    '", command.name, last ? " '*" : concat(" ", at, " '*"), ") echo ",
                          single_quoted(bash_value(value)), " ;;\n");
    }
  }
  const auto function = [](std::string_view name, std::string_view word, const std::string& cases) {
    return concat("\n", name, "() {\n  case ", word, " in\n", cases, "  esac\n}\n");
  };
  return concat(kBashHead, "\n_penstock_commands() { echo ", single_quoted(names), "; }\n",
                function("_penstock_flags", "$1", flags), function("_penstock_value", "$1", values),
                function("_penstock_position", "\"$1 $2 $3\"", positions), kBashTail);
}

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

std::string zsh_script(const CLI::App& app, const std::vector<CommandModel>& commands) {
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
      names, "  )\n  _arguments -C", zsh_options(option_models(app)),
      " \\\n        '1:command:->command' '*::argument:->arguments' && return\n  if [[ $state == command ]]; then\n"
      "    _describe command commands\n    return\n  fi\n  case $line[1] in\n",
      cases, "  esac\n}\n", kZshTail);
}

constexpr std::string_view kFishHead = R"sh(# Made by 'penstock --print-completion fish'.

function __penstock_mountpoints
    while read -d ' ' device path type rest
        if test "$type" = fuse.penstock
            printf '%b\n' (string replace --all '\\' '\\0' -- $path)
        end
    end </proc/self/mounts
end

complete -c penstock -f
)sh";

std::string fish_value(const ValueModel& value) {
  switch (value.kind) {
    case ValueKind::none:
      return {};
    case ValueKind::text:
      return " -x";
    case ValueKind::words:
      return concat(" -x -a ", fish_quoted(joined(value.words)));
    case ValueKind::file:
    case ValueKind::device:
      return " -r -F";
    case ValueKind::mountpoint:
      return " -x -a '(__penstock_mountpoints)'";
  }
  return {};
}

std::string fish_options(const std::vector<OptionModel>& options, std::string_view condition) {
  std::string out;
  for (const auto& option : options) {
    out += concat("complete -c penstock -n '", condition, "'");
    for (const auto& flag : option.flags) {
      out += flag.starts_with("--") ? concat(" -l ", flag.substr(2)) : concat(" -s ", flag.substr(1));
    }
    out += concat(fish_value(option.value), " -d ", fish_quoted(option.help), '\n');
  }
  return out;
}

std::string fish_script(const CLI::App& app, const std::vector<CommandModel>& commands) {
  std::string out = concat(kFishHead, fish_options(option_models(app), "__fish_use_subcommand"));
  for (const auto& command : commands) {
    const std::string condition = concat("__fish_seen_subcommand_from ", command.name);
    out += concat("complete -c penstock -n __fish_use_subcommand -a ", command.name, " -d ", fish_quoted(command.help),
                  '\n', fish_options(command.options, condition));
    for (const auto& positional : command.positionals) {
      const auto& value = positional.value;
      if (value.kind == ValueKind::file || value.kind == ValueKind::device)
        out += concat("complete -c penstock -n '", condition, "' -F\n");
      const std::string offer = value.kind == ValueKind::words        ? fish_quoted(joined(value.words))
                                : value.kind == ValueKind::mountpoint ? "'(__penstock_mountpoints)'"
                                                                      : "";
      if (!offer.empty()) out += concat("complete -c penstock -n '", condition, "' -a ", offer, '\n');
    }
  }
  return out;
}

}  // namespace

Result<std::string> completion_script(const CLI::App& app, const std::string& shell) {
  const auto commands = command_models(app);
  if (shell == "bash") return bash_script(app, commands);
  if (shell == "zsh") return zsh_script(app, commands);
  if (shell == "fish") return fish_script(app, commands);
  return fail(EINVAL, concat("--print-completion is for bash, zsh and fish, not '", printable(shell), "'"));
}

}  // namespace penstock::cli
