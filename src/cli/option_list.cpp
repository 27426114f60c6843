// SPDX-License-Identifier: Apache-2.0
#include "cli/option_list.hpp"

#include "base/text.hpp"

#include <utility>
#include <vector>

namespace penstock::cli {

namespace {

/// The items between single commas; ",," is one comma of the text.
std::vector<std::string> split_items(std::string_view text) {
  std::vector<std::string> items(1);
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != ',') {
      items.back().push_back(text[at]);
    } else if (at + 1 < text.size() && text[at + 1] == ',') {
      items.back().push_back(',');
      ++at;
    } else {
      items.emplace_back();
    }
  }
  return items;
}

}  // namespace

Result<> add_options(std::string_view text, std::map<std::string, std::string>& options) {
  auto items = split_items(text);
  // "a=1," is accepted as QEMU does; what stands after the last comma is simply nothing.
  if (items.size() > 1 && items.back().empty()) items.pop_back();
  for (const std::string& item : items) {
    const auto equals = item.find('=');
    std::string key = item.substr(0, equals);
    if (key.empty()) return fail(EINVAL, concat("invalid option list '", text, "': expected key=value,..."));
    options.insert_or_assign(std::move(key), equals == std::string::npos ? "on" : item.substr(equals + 1));
  }
  return {};
}

bool asks_for_help(std::string_view text) {
  for (const std::string& item : split_items(text)) {
    if (item == "help" || item == "?") return true;
  }
  return false;
}

}  // namespace penstock::cli
