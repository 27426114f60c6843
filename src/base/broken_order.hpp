// SPDX-License-Identifier: Apache-2.0
/// Orders of writing that a test breaks on purpose, to show that the crash tests would see it. In all other builds the
/// answer is "no" at compile time and nothing of this is left.
#pragma once

#include <cstdint>

namespace penstock {

enum class Order : std::uint8_t {
  kept,
  refcount_after_table,
  table_before_data,
  bit_before_data,
  finalise_before_flush
};

#ifdef PENSTOCK_BREAKABLE_ORDER
inline Order broken_order = Order::kept;
[[nodiscard]] inline bool broken(Order order) {
  return broken_order == order;
}
#else
[[nodiscard]] consteval bool broken(Order /*order*/) {
  return false;
}
#endif

}  // namespace penstock
