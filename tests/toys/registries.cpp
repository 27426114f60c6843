// SPDX-License-Identifier: Apache-2.0
// The lists of src/format/registry.cpp and src/storage/registry.cpp, each with one more line: what a next format or
// transport costs outside its folder.
#include "format/add_cow/format.hpp"
#include "format/qcow2/format.hpp"
#include "format/qed/format.hpp"
#include "format/raw/raw_driver.hpp"
#include "storage/file/file_protocol.hpp"
#include "storage/protocol.hpp"
#include "tests/toys/program_protocol/program_protocol.hpp"
#include "tests/toys/toy_format/toy_format.hpp"

#include <array>

namespace penstock {

std::span<const Format* const> formats() {
  static constexpr std::array<const Format*, 5> kFormats{
      &kRawFormat,       &qcow2::kFormat, &qed::kFormat, &add_cow::kFormat,
      &toys::kToyFormat,  // the line
  };
  return kFormats;
}

std::span<const Protocol* const> protocols() {
  static constexpr std::array<const Protocol*, 2> kProtocols{
      &kFileProtocol,
      &toys::kProgramProtocol,  // the line
  };
  return kProtocols;
}

}  // namespace penstock
