// SPDX-License-Identifier: Apache-2.0
/// What there is to say, and to do, where the system has no thread or no memory to give.
#pragma once

#include <penstock/error.hpp>

#include <system_error>
#include <utility>

namespace penstock {

/// A thread could not be started, for the reason that pthread_create(3) gives.
[[nodiscard]] Failure no_thread(int number);

/// Makes a call that starts threads. Errors: no_thread().
template <typename Call>
[[nodiscard]] Result<> or_no_thread(Call&& call) {
  try {
    std::forward<Call>(call)();
    return {};
  } catch (const std::system_error& problem) {
    return no_thread(problem.code().value());
  }
}

/// Whether there is memory to serve an image with, as far as limits are concerned; none is taken. Errors: ENOMEM.
[[nodiscard]] Result<> check_memory_room();

/// Whether `count` more threads can run at a time, found by starting them, for where it is too late when they are
/// needed. Errors: EAGAIN, ENOMEM. Source:
/// pthread_create(3), getrlimit(2).
[[nodiscard]] Result<> check_thread_room(unsigned count);

}  // namespace penstock
