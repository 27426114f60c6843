// SPDX-License-Identifier: Apache-2.0
#include "cli/completion_shells.hpp"

#include "base/text.hpp"

#include <string_view>

namespace penstock::cli {

namespace {

/// Fish knows \' within single quotes.
std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char character : text) out += concat(character == '\'' ? "\\" : "", character);
  return out + '\'';
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

}  // namespace

std::string fish_script(const std::vector<OptionModel>& own, const std::vector<CommandModel>& commands) {
  std::string out = concat(kFishHead, fish_options(own, "__fish_use_subcommand"));
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

}  // namespace penstock::cli
