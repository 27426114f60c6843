// SPDX-License-Identifier: Apache-2.0
#include "cli/json_text.hpp"

namespace penstock::cli {

std::string json_text(const Json& value) {
  constexpr int kIndent = 4;
  constexpr bool kAsciiOnly = true;
  return value.dump(kIndent, ' ', kAsciiOnly, Json::error_handler_t::replace) + '\n';
}

}  // namespace penstock::cli
