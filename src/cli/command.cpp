// SPDX-License-Identifier: Apache-2.0
#include "cli/command.hpp"

namespace penstock::cli {

std::vector<std::string> flags_of(std::string_view names) {
  std::vector<std::string> out;
  for (;;) {
    const auto end = names.find(',');
    out.emplace_back(names.substr(0, end));
    if (end == std::string_view::npos) return out;
    names.remove_prefix(end + 1);
  }
}

}  // namespace penstock::cli
