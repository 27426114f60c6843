// SPDX-License-Identifier: Apache-2.0
/// What the fuzz targets share: what a failure must look like, and images made from an input.
#pragma once

#include <penstock/image.hpp>

#include "storage/memory_storage.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string_view>

namespace penstock::fuzz {

/// Ends the program, which the fuzzer takes for a finding.
inline void demand(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

/// A failure is allowed nearly anywhere, but it must have an errno and say one clear line.
template <typename T>
bool told(const Result<T>& result) {
  if (result) return true;
  const auto& text = result.error().message();
  demand(result.error().number() > 0, "an error has an errno");
  demand(!text.empty() && text.size() < 65536, "an error says something, and not too much");
  for (const char character : text) {
    demand(static_cast<unsigned char>(character) >= ' ' && character != '\x7f', "an error is one printable line");
  }
  return false;
}

/// Takes an input apart, from the front; behind its end there are zeroes.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(std::as_bytes(std::span(data, size))) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }
  std::span<const std::byte> bytes(std::size_t count) {
    const auto out = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(out.size());
    return out;
  }
  std::span<const std::byte> rest() { return bytes(rest_.size()); }
  /// Little-endian, `width` bytes.
  std::uint64_t number(std::size_t width) {
    std::uint64_t value = 0;
    const auto in = bytes(width);
    for (std::size_t i = 0; i < in.size(); ++i) value |= std::to_integer<std::uint64_t>(in[i]) << (8 * i);
    return value;
  }

 private:
  std::span<const std::byte> rest_;
};

/// A file as pack.py writes it, so that an input of a few hundred bytes is an image with tables far apart: its length
/// (u64), then runs: offset (u32), length (u16), bytes. All else is a hole.
inline std::shared_ptr<MemoryStorage> unpack_file(Input& input) {
  auto file = std::make_shared<MemoryStorage>("image");
  const auto size = input.number(8) & INT64_MAX;
  while (!input.empty()) {
    const auto offset = input.number(4);
    const auto data = input.bytes(input.number(2));
    demand(file->write({offset}, data).has_value(), "memory can be written");
  }
  demand(file->truncate(size).has_value(), "memory can be cut");
  return file;
}

}  // namespace penstock::fuzz
