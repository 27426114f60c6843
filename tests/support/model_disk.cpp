// SPDX-License-Identifier: Apache-2.0
#include "tests/support/model_disk.hpp"

#include "base/text.hpp"

#include <algorithm>

namespace penstock::test {

std::span<const std::byte> ModelDisk::bytes(GuestRange range) const {
  return std::span(bytes_).subspan(range.offset.value, range.length);
}

void ModelDisk::write(GuestOffset offset, std::span<const std::byte> in) {
  std::ranges::copy(in, std::span(bytes_).subspan(offset.value, in.size()).begin());
}

void ModelDisk::zero(GuestRange range) {
  std::ranges::fill(std::span(bytes_).subspan(range.offset.value, range.length), std::byte{0});
}

std::string ModelDisk::difference(GuestOffset offset, std::span<const std::byte> found) const {
  const auto wanted = bytes({offset, found.size()});
  const auto [want, got] = std::ranges::mismatch(wanted, found);
  if (want == wanted.end()) return {};
  const auto at = offset.value + static_cast<std::uint64_t>(want - wanted.begin());
  return concat("byte ", at, " (", hex(at), ") is ", hex(std::to_integer<std::uint64_t>(*got)), ", not ",
                hex(std::to_integer<std::uint64_t>(*want)));
}

}  // namespace penstock::test
