// SPDX-License-Identifier: Apache-2.0
#include "image/json_name.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <charconv>
#include <filesystem>
#include <map>
#include <vector>

namespace penstock {

namespace {

using Json = nlohmann::json;
// Sixteen times what an image can store.
constexpr std::size_t kTextBytesMax = 16U << 10U;

using Leaves = std::map<std::string, Json, std::less<>>;

Failure unusable(std::string_view what) {
  return fail(EINVAL, concat("json: name ", what));
}

/// {"file": {"filename": "a"}} and {"file.filename": "a"} both give "file.filename".
Result<Leaves> flatten(Json object) {
  Leaves leaves;
  // A list, not recursion: the text comes from an image.
  std::vector<std::pair<std::string, Json>> open;
  open.emplace_back("", std::move(object));
  while (!open.empty()) {
    auto [prefix, node] = std::move(open.back());
    open.pop_back();
    for (auto& [key, value] : node.items()) {
      auto name = prefix + key;
      if (value.is_object()) {
        open.emplace_back(name + ".", std::move(value));
      } else if (!leaves.emplace(name, std::move(value)).second) {
        return unusable(concat("says '", printable(name), "' twice"));
      }
    }
  }
  return leaves;
}

Result<std::optional<std::string>> take_string(Leaves& leaves, std::string_view key) {
  const auto found = leaves.find(key);
  if (found == leaves.end()) return std::optional<std::string>();
  if (!found->second.is_string()) return unusable(concat("has a '", key, "' that is not a string"));
  auto value = found->second.get<std::string>();
  leaves.erase(found);
  return std::optional(std::move(value));
}

Result<std::optional<std::uint64_t>> take_number(Leaves& leaves, std::string_view key) {
  const auto found = leaves.find(key);
  if (found == leaves.end()) return std::optional<std::uint64_t>();
  std::uint64_t value = 0;
  bool valid = false;
  if (found->second.is_number_unsigned()) {
    value = found->second.get<std::uint64_t>();
    valid = true;
  } else if (found->second.is_string()) {
    const auto text = found->second.get<std::string>();
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    valid = read.ec == std::errc() && read.ptr == text.data() + text.size();
  }
  if (!valid || value > INT64_MAX) return unusable(concat("has a '", key, "' that is not a number of bytes"));
  leaves.erase(found);
  return std::optional(value);
}

/// Keys that change how QEMU gets at the bytes, not which bytes there are.
bool is_about_access(std::string_view key) {
  if (key.starts_with("file.")) key.remove_prefix(5);
  return key == "read-only" || key == "auto-read-only" || key == "locking" || key == "aio" || key == "cache.direct" ||
         key == "cache.no-flush" || key == "discard" || key == "detect-zeroes" || key == "node-name" ||
         key == "drop-cache" || key == "x-check-cache-dropped" || key == "force-share";
}

bool is_file_node(std::string_view driver) {
  return driver == "file" || driver == "host_device";
}

Result<std::string> absolute(const std::string& path) {
  if (path.empty()) return unusable("has an empty file name");
  std::error_code error;
  auto result = std::filesystem::absolute(path, error);
  if (error) return fail(error.value(), concat("working directory: ", error.message()));
  return result.string();
}

}  // namespace

Result<JsonName> parse_json_name(std::string_view text) {
  if (text.size() > kTextBytesMax) return unusable("is too long");
  auto json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return unusable("is not valid JSON");
  if (!json.is_object()) return unusable("is not a JSON object");
  auto leaves = TRY(flatten(std::move(json)));

  JsonName name;
  name.format = TRY(take_string(leaves, "driver")).value_or("");
  name.protocol_only = is_file_node(name.format);
  const auto file_driver = TRY(take_string(leaves, name.protocol_only ? "" : "file.driver"));
  if (file_driver && !is_file_node(*file_driver)) {
    return unusable(concat("names the unknown protocol '", printable(*file_driver), "'"));
  }
  const auto file_name = TRY(take_string(leaves, name.protocol_only ? "filename" : "file.filename"));
  if (!name.protocol_only) {
    name.offset = TRY(take_number(leaves, "offset"));
    name.size = TRY(take_number(leaves, "size"));
  }
  std::erase_if(leaves, [](const auto& leaf) { return is_about_access(leaf.first); });
  if (!leaves.empty())
    return unusable(concat("has the key '", printable(leaves.begin()->first), "', which is not known"));
  if (!file_name) return unusable(concat("lacks '", name.protocol_only ? "filename" : "file.filename", "'"));
  name.absolute_path = TRY(absolute(*file_name));
  if (name.protocol_only) name.format.clear();
  return name;
}

}  // namespace penstock
