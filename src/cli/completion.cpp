// SPDX-License-Identifier: Apache-2.0
#include "cli/completion.hpp"

#include "cli/completion_shells.hpp"

#include "base/text.hpp"

namespace penstock::cli {

std::string joined(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (const auto& word : words) out += concat(out.empty() ? "" : separator, word);
  return out;
}

std::string single_quoted(std::string_view text) {
  std::string out = "'";
  for (const char character : text) out += character == '\'' ? "'\\''" : std::string(1, character);
  return out + '\'';
}

Result<std::string> completion_script(const std::vector<Command>& commands, const std::string& shell) {
  const auto own = program_options();
  std::vector<CommandModel> models;
  for (const Command& command : commands) models.push_back(command_model(command));
  if (shell == "bash") return bash_script(own, models);
  if (shell == "zsh") return zsh_script(own, models);
  if (shell == "fish") return fish_script(own, models);
  return fail(EINVAL, concat("--print-completion is for bash, zsh and fish, not '", printable(shell), "'"));
}

}  // namespace penstock::cli
