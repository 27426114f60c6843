// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/format.hpp"

#include "base/endian.hpp"
#include "format/qcow2/check.hpp"
#include "format/qcow2/create.hpp"
#include "format/qcow2/create_options.hpp"
#include "format/qcow2/qcow2_driver.hpp"

namespace penstock::qcow2 {

namespace {

bool probe(std::span<const std::byte> head) {
  if (head.size() < 8 || load_be<std::uint32_t>(head, 0) != kMagic) return false;
  // Version 1 has the same magic and is another format.
  return load_be<std::uint32_t>(head, 4) >= 2;
}

}  // namespace

const Format kFormat{
    .name = "qcow2",
    .probe = probe,
    .open = Driver::open,
    .plan_create = plan_create,
    .check = check,
    .create_options = create_option_list,
    .overhead = overhead,
};

}  // namespace penstock::qcow2
