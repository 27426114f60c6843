// SPDX-License-Identifier: Apache-2.0
/// Where an exception must not go any further.
#pragma once

#include <penstock/error.hpp>

#include <new>
#include <utility>

namespace penstock {

/// What `call` gives; ENOMEM when memory ran out in it. For calls that can be made again, at the top of a thread.
template <typename Call>
[[nodiscard]] auto or_out_of_memory(Call&& call) -> decltype(call()) {
  try {
    return std::forward<Call>(call)();
  } catch (const std::bad_alloc&) {
    // Short enough to need no memory itself.
    return fail(ENOMEM, "no memory");
  }
}

}  // namespace penstock
