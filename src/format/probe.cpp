// SPDX-License-Identifier: Apache-2.0
#include <penstock/format.hpp>

#include <array>

namespace penstock {

Result<const Format*> probe_format(Storage& storage) {
  std::array<std::byte, 512> bytes{};
  const auto length = std::min<std::uint64_t>(TRY(storage.size()), bytes.size());
  const auto head = std::span(bytes).first(length);
  TRY(storage.read({0}, head));
  for (const Format* format : formats()) {
    if (format->probe != nullptr && format->probe(head)) return format;
  }
  return formats().front();
}

}  // namespace penstock
