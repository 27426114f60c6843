// SPDX-License-Identifier: Apache-2.0
#include "storage/json_name.hpp"

#include "base/text.hpp"
#include "storage/protocol.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <vector>

namespace penstock {

namespace {

using Json = nlohmann::json;
// Sixteen times what an image can store.
constexpr std::size_t kTextBytesMax = 16U << 10U;

JsonKeys::Value value_of(const Json& node) {
  if (node.is_string()) return node.get<std::string>();
  if (node.is_number_unsigned()) return node.get<std::uint64_t>();
  return {};
}

Result<JsonKeys> flatten(Json object) {
  JsonKeys::Map keys;
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
      } else if (!keys.emplace(name, value_of(value)).second) {
        return unusable_json_name(concat("says '", printable(name), "' twice"));
      }
    }
  }
  return JsonKeys(std::move(keys));
}

/// Keys that change how QEMU gets at the bytes, not which bytes there are.
bool is_about_access(std::string_view key) {
  if (key.starts_with("file.")) key.remove_prefix(5);
  return key == "read-only" || key == "auto-read-only" || key == "locking" || key == "aio" || key == "cache.direct" ||
         key == "cache.no-flush" || key == "discard" || key == "detect-zeroes" || key == "node-name" ||
         key == "drop-cache" || key == "x-check-cache-dropped" || key == "force-share";
}

const Protocol* protocol_of_driver(std::string_view driver) {
  for (const Protocol* protocol : protocols()) {
    if (std::ranges::find(protocol->json_drivers, driver) != protocol->json_drivers.end()) return protocol;
  }
  return nullptr;
}

}  // namespace

Failure unusable_json_name(std::string_view what) {
  return fail(EINVAL, concat("json: name ", what));
}

Result<std::optional<std::string>> JsonKeys::take_text(std::string_view key) {
  const auto found = keys_.find(full(key));
  if (found == keys_.end()) return std::optional<std::string>();
  auto* const text = std::get_if<std::string>(&found->second);
  if (text == nullptr) return unusable_json_name(concat("has a '", full(key), "' that is not a string"));
  auto value = std::move(*text);
  keys_.erase(found);
  return std::optional(std::move(value));
}

Result<std::optional<std::uint64_t>> JsonKeys::take_number(std::string_view key) {
  const auto found = keys_.find(full(key));
  if (found == keys_.end()) return std::optional<std::uint64_t>();
  std::uint64_t value = 0;
  bool valid = false;
  if (const auto* const number = std::get_if<std::uint64_t>(&found->second)) {
    value = *number;
    valid = true;
  } else if (const auto* const text = std::get_if<std::string>(&found->second)) {
    const auto read = std::from_chars(text->data(), text->data() + text->size(), value);
    valid = read.ec == std::errc() && read.ptr == text->data() + text->size();
  }
  if (!valid || value > INT64_MAX)
    return unusable_json_name(concat("has a '", full(key), "' that is not a number of bytes"));
  keys_.erase(found);
  return std::optional(value);
}

Result<std::string> JsonKeys::need_text(std::string_view key) {
  auto text = TRY(take_text(key));
  if (!text) return unusable_json_name(concat("lacks '", full(key), "'"));
  return *std::move(text);
}

Result<ImageName> parse_json_name(std::string_view text) {
  if (text.size() > kTextBytesMax) return unusable_json_name("is too long");
  auto json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return unusable_json_name("is not valid JSON");
  if (!json.is_object()) return unusable_json_name("is not a JSON object");
  auto keys = TRY(flatten(std::move(json)));

  ImageName name;
  name.format = TRY(keys.take_text("driver")).value_or("");
  const Protocol* protocol = protocol_of_driver(name.format);
  name.bytes_alone = protocol != nullptr;
  if (name.bytes_alone) {
    name.format.clear();
  } else {
    name.offset = TRY(keys.take_number("offset"));
    name.size = TRY(keys.take_number("size"));
    keys.enter("file");
    const auto driver = TRY(keys.take_text("driver"));
    protocol = driver ? protocol_of_driver(*driver) : protocols().front();
    if (protocol == nullptr) {
      return unusable_json_name(concat("names the unknown protocol '", printable(*driver), "'"));
    }
  }
  name.protocol = protocol->name;
  name.address = TRY(protocol->from_json(keys));
  for (const auto& [key, value] : keys.left()) {
    if (!is_about_access(key)) {
      return unusable_json_name(concat("has the key '", printable(key), "', which is not known"));
    }
  }
  return name;
}

}  // namespace penstock
