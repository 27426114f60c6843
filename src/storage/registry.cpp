// SPDX-License-Identifier: Apache-2.0
// The one list of protocols. Alone in its file: a program that links the engine statically may bring a longer one
// (tests/toys).
#include "storage/protocol.hpp"

#include "storage/file/file_protocol.hpp"

#include <array>

namespace penstock {

std::span<const Protocol* const> protocols() {
  static constexpr std::array<const Protocol*, 1> kProtocols{&kFileProtocol};
  return kProtocols;
}

}  // namespace penstock
