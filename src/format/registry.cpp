// SPDX-License-Identifier: Apache-2.0
// The one table of formats.
#include <penstock/format.hpp>

#include "base/text.hpp"
#include "format/add_cow/format.hpp"
#include "format/qcow2/format.hpp"
#include "format/qed/format.hpp"
#include "format/raw/raw_driver.hpp"

#include <array>

namespace penstock {

namespace {

constexpr std::array<const Format*, 4> kFormats{&kRawFormat, &qcow2::kFormat, &qed::kFormat, &add_cow::kFormat};

}  // namespace

std::span<const Format* const> formats() {
  return kFormats;
}

Result<const Format*> find_format(std::string_view name) {
  std::string names;
  for (const Format* format : kFormats) {
    if (format->name == name) return format;
    names.append(names.empty() ? "" : ", ").append(format->name);
  }
  return fail(EINVAL, concat("unknown format '", printable(name), "' (there are: ", names, ")"));
}

}  // namespace penstock
