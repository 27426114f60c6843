// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/error.hpp>

namespace penstock {

/// Whether `count` more threads can run at a time, with memory to work in, found by starting them. oneTBB ends the
/// program when one of its own cannot be started, which is too late for an error. Errors: EAGAIN, ENOMEM.
/// Source: pthread_create(3), getrlimit(2).
[[nodiscard]] Result<> check_thread_room(unsigned count);

}  // namespace penstock
