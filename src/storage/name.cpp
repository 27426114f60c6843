// SPDX-License-Identifier: Apache-2.0
#include <penstock/name.hpp>

#include "base/text.hpp"
#include "storage/json_name.hpp"
#include "storage/protocol.hpp"

namespace penstock {

namespace {

constexpr std::string_view kJson = "json:";

/// What stands before the ':' of a name with a protocol; empty: it is a path.
std::string_view protocol_of(std::string_view text) {
  const auto colon = text.find(':');
  return colon != std::string_view::npos && colon < text.find('/') ? text.substr(0, colon) : std::string_view();
}

Result<ImageName> at_address(const Protocol& protocol, std::string_view rest) {
  return ImageName{.protocol = std::string(protocol.name), .address = TRY(protocol.parse(rest))};
}

}  // namespace

std::string ImageName::text() const {
  return protocol == protocols().front()->name ? address : concat(protocol, ":", address);
}

std::string_view ImageName::file_name() const {
  return std::string_view(address).substr(address.rfind('/') + 1);
}

Result<ImageName> parse_name(std::string_view text) {
  if (text.starts_with(kJson)) return parse_json_name(text.substr(kJson.size()));
  const auto word = protocol_of(text);
  if (word.empty()) return at_address(*protocols().front(), text);
  const auto rest = text.substr(word.size() + 1);
  if (const auto* const protocol = find_protocol(word)) return at_address(*protocol, rest);
  return ImageName{.protocol = std::string(word), .address = std::string(rest)};
}

Result<ImageName> resolve_name(const ImageName& image, std::string_view stored) {
  const auto* const protocol = find_protocol(image.protocol);
  if (stored.empty() || stored.starts_with('/') || !protocol_of(stored).empty() || protocol == nullptr) {
    return parse_name(stored);
  }
  return ImageName{.protocol = image.protocol, .address = protocol->resolve(image.address, stored)};
}

}  // namespace penstock
