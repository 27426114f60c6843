// SPDX-License-Identifier: Apache-2.0
/// One script a shell, and what they share.
#pragma once

#include "cli/completion_model.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace penstock::cli {

// `own`: the options of the program itself.
[[nodiscard]] std::string bash_script(const std::vector<OptionModel>& own, const std::vector<CommandModel>& commands);
[[nodiscard]] std::string zsh_script(const std::vector<OptionModel>& own, const std::vector<CommandModel>& commands);
[[nodiscard]] std::string fish_script(const std::vector<OptionModel>& own, const std::vector<CommandModel>& commands);

[[nodiscard]] std::string joined(const std::vector<std::string>& words, std::string_view separator = " ");
/// In single quotes; the same for all shells as long as no text has a backslash of its own.
[[nodiscard]] std::string single_quoted(std::string_view text);

}  // namespace penstock::cli
