// SPDX-License-Identifier: Apache-2.0
// The one list of protocols.
#include <penstock/features.hpp>
#include <penstock/storage.hpp>

#include "base/text.hpp"
#include "storage/file_storage.hpp"

#include <array>

namespace penstock {

namespace {

struct Protocol {
  std::string_view name;  ///< what stands before the ':'
  Result<std::shared_ptr<Storage>> (*open)(const std::string& rest, const StorageOptions& options);
  Result<std::shared_ptr<Storage>> (*create)(const std::string& rest);  ///< null: nothing can be made there
};

constexpr std::array kProtocols{
    Protocol{"file", open_file_storage, create_file_storage},
};

/// A name taken apart; a plain path is the protocol "file".
struct ParsedName {
  const Protocol* protocol;
  std::string rest;
};

Result<ParsedName> parse(std::string_view name) {
  // A name from an image may hold any byte, and a path would silently end here.
  if (name.find('\0') != std::string_view::npos) return fail(EINVAL, "the name contains a NUL byte");
  const auto colon = name.find(':');
  if (colon == std::string_view::npos || name.find('/') < colon) return ParsedName{&kProtocols[0], std::string(name)};
  const auto scheme = name.substr(0, colon);
  for (const Protocol& protocol : kProtocols) {
    if (protocol.name == scheme) return ParsedName{&protocol, std::string(name.substr(colon + 1))};
  }
  return fail(EINVAL, concat("unknown protocol '", printable(scheme),
                             "' (write ./ in front of a file name that contains a ':')"));
}

}  // namespace

std::vector<std::string> storage_protocols() {
  std::vector<std::string> out;
  for (const Protocol& protocol : kProtocols) out.emplace_back(protocol.name);
  return out;
}

Result<std::shared_ptr<Storage>> open_storage(std::string_view name, const StorageOptions& options) {
  const auto parsed = TRY(parse(name));
  return parsed.protocol->open(parsed.rest, options);
}

Result<std::shared_ptr<Storage>> create_storage(std::string_view name) {
  const auto parsed = TRY(parse(name));
  if (parsed.protocol->create == nullptr) {
    return unsupported(concat("images cannot be made by protocol '", parsed.protocol->name, "'"));
  }
  return parsed.protocol->create(parsed.rest);
}

}  // namespace penstock
