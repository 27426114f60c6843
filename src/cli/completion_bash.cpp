// SPDX-License-Identifier: Apache-2.0
#include "cli/completion_shells.hpp"

#include "base/text.hpp"

#include <string_view>

namespace penstock::cli {

namespace {

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

}  // namespace

std::string bash_script(const std::vector<OptionModel>& own, const std::vector<CommandModel>& commands) {
  std::string names;
  std::string flags = concat("    '') echo ", single_quoted(bash_flags(own)), " ;;\n");
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
      if (const auto& before = command.positionals[at].before) {
        positions += concat("    '", command.name, ' ', at, ' ', before->first_word, "') echo ",
                            single_quoted(bash_value(before->value)), " ;;\n");
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

}  // namespace penstock::cli
