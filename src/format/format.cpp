// SPDX-License-Identifier: Apache-2.0
#include <penstock/format.hpp>

#include "base/text.hpp"

namespace penstock {

Result<> FormatDriver::unpack(std::span<const std::byte> /*packed*/, std::span<std::byte> /*cluster*/) {
  return corrupt(concat("format ", format(), " has no compressed clusters"));
}

}  // namespace penstock
