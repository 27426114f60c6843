// SPDX-License-Identifier: Apache-2.0
#include "format/qed/format.hpp"

#include "base/endian.hpp"
#include "format/qed/check.hpp"
#include "format/qed/qed_driver.hpp"

namespace penstock::qed {

namespace {

bool probe(std::span<const std::byte> head) {
  return head.size() >= kHeaderBytes && load_le<std::uint32_t>(head, 0) == kMagic;
}

}  // namespace

const Format kFormat{
    .name = "qed",
    .probe = probe,
    .open = Driver::open,
    .plan_create = plan_create,
    .check = check,
    .create_options = create_option_list,
    .overhead = overhead,
};

}  // namespace penstock::qed
