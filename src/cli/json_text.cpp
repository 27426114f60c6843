// SPDX-License-Identifier: Apache-2.0
#include "cli/json_text.hpp"

#include <nlohmann/json.hpp>

#include <string_view>

namespace penstock::cli {

namespace {

/// qemu-img breaks the line inside empty lists and objects too.
std::string open_empty_ones(std::string_view text) {
  std::string out;
  std::size_t indent = 0;
  bool in_string = false;
  bool escaped = false;
  bool line_begins = true;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char character = text[at];
    if (line_begins && character != ' ') {
      line_begins = false;
      indent = out.size() - (out.rfind('\n') + 1);  // npos + 1 is 0: the first line
    }
    if (character == '\n') line_begins = true;
    if (character == '"' && !escaped) in_string = !in_string;
    escaped = in_string && !escaped && character == '\\';
    out.push_back(character);
    const std::string_view rest = text.substr(at);
    if (!in_string && (rest.starts_with("[]") || rest.starts_with("{}"))) out.append("\n").append(indent, ' ');
  }
  return out;
}

}  // namespace

std::string json_text(const Json& value) {
  constexpr int kIndent = 4;
  constexpr bool kAsciiOnly = true;
  return open_empty_ones(value.dump(kIndent, ' ', kAsciiOnly, Json::error_handler_t::replace)) + '\n';
}

}  // namespace penstock::cli
