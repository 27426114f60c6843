// SPDX-License-Identifier: Apache-2.0
#include "format/add_cow/format.hpp"

#include "base/endian.hpp"
#include "format/add_cow/add_cow_driver.hpp"

namespace penstock::add_cow {

namespace {

bool probe(std::span<const std::byte> head) {
  return head.size() >= kFixedBytes && load_le<std::uint32_t>(head, 0) == kMagic;
}

}  // namespace

const Format kFormat{
    .name = "add-cow",
    .probe = probe,
    .open = Driver::open,
    .plan_create = plan_create,
    .check = check,
    .create_options = create_option_list,
    .overhead = overhead,
    .data_file_option = "image_file",
};

}  // namespace penstock::add_cow
