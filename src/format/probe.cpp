// SPDX-License-Identifier: Apache-2.0
// Which format it is, by its name or by what a file begins with.
#include <penstock/format.hpp>

#include "base/text.hpp"

#include <array>

namespace penstock {

const Format& raw_format() {
  return *formats().front();
}

Result<const Format*> find_format(std::string_view name) {
  std::string names;
  for (const Format* format : formats()) {
    if (format->name == name) return format;
    names.append(names.empty() ? "" : ", ").append(format->name);
  }
  return fail(EINVAL, concat("unknown format '", printable(name), "' (there are: ", names, ")"));
}

Result<const Format*> probe_format(Storage& storage) {
  std::array<std::byte, 512> bytes{};
  const auto length = std::min<std::uint64_t>(TRY(storage.size()), bytes.size());
  const auto head = std::span(bytes).first(length);
  TRY(storage.read({0}, head));
  for (const Format* format : formats()) {
    if (format->probe != nullptr && format->probe(head)) return format;
  }
  return &raw_format();
}

}  // namespace penstock
