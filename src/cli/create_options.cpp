// SPDX-License-Identifier: Apache-2.0
#include "cli/create_options.hpp"

#include "cli/human.hpp"

#include <penstock/format.hpp>

#include "base/text.hpp"

namespace penstock::cli {

Result<std::string> create_options_text(std::string_view format) {
  const Format* const found = TRY(find_format(format));
  std::string out = concat("Supported ", found->name, " options:\n");
  if (found->create_options == nullptr) return out;
  for (const CreateOption& option : found->create_options()) {
    const std::string left = concat(option.name, "=<", option.type, '>');
    out += printf_text("  %-22s - %s\n", left.c_str(), std::string(option.help).c_str());
  }
  return out;
}

}  // namespace penstock::cli
