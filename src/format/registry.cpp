// SPDX-License-Identifier: Apache-2.0
// The one table of formats. Alone in its file: a program that links the engine statically may bring a longer one
// (tests/toys).
#include <penstock/format.hpp>

#include "format/add_cow/format.hpp"
#include "format/qcow2/format.hpp"
#include "format/qed/format.hpp"
#include "format/raw/raw_driver.hpp"

#include <array>

namespace penstock {

std::span<const Format* const> formats() {
  static constexpr std::array<const Format*, 4> kFormats{&kRawFormat, &qcow2::kFormat, &qed::kFormat,
                                                         &add_cow::kFormat};
  return kFormats;
}

}  // namespace penstock
