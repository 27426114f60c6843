// SPDX-License-Identifier: Apache-2.0
#include <penstock/format.hpp>

#include "base/text.hpp"

namespace penstock {

namespace {

Failure only_read(const FormatDriver& driver) {
  return fail(EROFS, concat("images of format ", driver.format(), " can only be read"));
}

}  // namespace

Result<Reservation> FormatDriver::reserve(GuestRange /*want*/) {
  return only_read(*this);
}
Result<> FormatDriver::publish(Reservation /*filled*/) {
  return only_read(*this);
}
Result<std::uint64_t> FormatDriver::publish_zero(GuestRange /*units*/, Zeroing /*zeroing*/) {
  return only_read(*this);
}
Result<> FormatDriver::discard(GuestRange /*range*/) {
  return only_read(*this);
}
Result<> FormatDriver::resize(std::uint64_t /*size*/, std::uint64_t /*backing_size*/) {
  return only_read(*this);
}

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
