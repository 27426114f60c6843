// SPDX-License-Identifier: Apache-2.0
#include <penstock/format.hpp>

#include "base/text.hpp"

namespace penstock {

Result<> FormatDriver::unpack(std::span<const std::byte> /*packed*/, std::span<std::byte> /*cluster*/) {
  return corrupt(concat("format ", format(), " has no compressed clusters"));
}

Result<std::optional<std::vector<std::byte>>> FormatDriver::pack(std::span<const std::byte> /*cluster*/) {
  return fail(EOPNOTSUPP, concat("format ", format(), " has no compressed clusters"));
}

Result<Reservation> FormatDriver::reserve_packed(GuestOffset /*cluster*/, std::uint32_t /*packed_bytes*/) {
  return fail(EOPNOTSUPP, concat("format ", format(), " has no compressed clusters"));
}

Result<> FormatDriver::change_backing(const BackingReference& /*backing*/) {
  return fail(EOPNOTSUPP, concat("format ", format(), " has no backing files"));
}

Result<> FormatDriver::make_empty() {
  return fail(EOPNOTSUPP, concat("format ", format(), " cannot forget its clusters"));
}

Result<> FormatDriver::set_auto_start(AutoStart /*start*/) {
  return fail(EOPNOTSUPP, concat("format ", format(), " cannot remember what a mount is to start"));
}

}  // namespace penstock
