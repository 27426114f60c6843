// SPDX-License-Identifier: Apache-2.0
#include "image/foreign.hpp"

#include <array>
#include <cstring>

namespace penstock {

namespace {

using namespace std::string_view_literals;

struct Magic {
  std::string_view format;
  std::size_t offset;
  std::string_view bytes;
};

constexpr std::array kMagics{
    Magic{"vmdk", 0, "KDMV"sv},
    Magic{"vmdk", 0, "COWD"sv},
    Magic{"vmdk", 0, "# Disk DescriptorFile"sv},
    Magic{"vhdx", 0, "vhdxfile"sv},
    Magic{"vpc", 0, "conectix"sv},
    Magic{"vdi", 64, "\x7f\x10\xda\xbe"sv},
    Magic{"parallels", 0, "WithoutFreeSpace"sv},
    Magic{"parallels", 0, "WithouFreSpacExt"sv},
};

}  // namespace

std::string_view foreign_format(std::span<const std::byte> head) {
  for (const auto& magic : kMagics) {
    if (head.size() < magic.offset + magic.bytes.size()) continue;
    if (std::memcmp(head.data() + magic.offset, magic.bytes.data(), magic.bytes.size()) == 0) return magic.format;
  }
  return {};
}

}  // namespace penstock
