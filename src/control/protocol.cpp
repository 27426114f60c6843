// SPDX-License-Identifier: Apache-2.0
#include "control/protocol.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <utility>

namespace penstock::control {

namespace {

bool is_blank(char character) {
  return character == ' ' || character == '\t' || character == '\r' || character == '\n';
}

}  // namespace

void Framer::finish() {
  ready_.push_back(std::exchange(message_, {}));
  depth_ = 0;
  in_string_ = escaped_ = false;
}

Result<> Framer::feed(std::string_view bytes) {
  for (const char character : bytes) {
    if (message_.empty() && is_blank(character)) continue;
    // What does not begin as an object cannot be followed by its braces: it ends with its line, and is an error later.
    if (!message_.empty() && message_.front() != '{' && character == '\n') {
      finish();
      continue;
    }
    if (message_.size() == message_bytes_max_) {
      return fail(EMSGSIZE, concat("a message is longer than ", message_bytes_max_, " bytes"));
    }
    message_.push_back(character);
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (character == '\\') {
        escaped_ = true;
      } else if (character == '"') {
        in_string_ = false;
      }
      continue;
    }
    if (character == '"') in_string_ = true;
    if (character == '{' || character == '[') {
      if (++depth_ > kNestingMax) return fail(EMSGSIZE, concat("a message is nested deeper than ", kNestingMax));
    }
    if ((character == '}' || character == ']') && depth_ > 0 && --depth_ == 0 && message_.front() == '{') finish();
  }
  return {};
}

std::string Framer::next() {
  if (ready_.empty()) return {};
  std::string message = std::move(ready_.front());
  ready_.pop_front();
  return message;
}

std::string to_line(const Json& message) {
  return message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\r\n";
}

Json greeting(std::string_view version) {
  const Json numbers = {{"major", 0}, {"minor", 1}, {"micro", 0}};
  return {
      {"QMP",
       {{"version", {{"qemu", numbers}, {"package", concat("penstock ", version)}}}, {"capabilities", Json::array()}}}};
}

Json answer(Json result, const Json& id) {
  Json out = {{"return", std::move(result)}};
  if (!id.is_null()) out["id"] = id;
  return out;
}

Json failure(std::string_view error_class, std::string_view description, const Json& id) {
  Json out = {{"error", {{"class", error_class}, {"desc", description}}}};
  if (!id.is_null()) out["id"] = id;
  return out;
}

}  // namespace penstock::control
