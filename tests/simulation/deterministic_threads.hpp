// SPDX-License-Identifier: Apache-2.0
/// Threads that take turns in an order that one seed decides, so that a run with all its races happens again.
///
/// This program defines the functions of libpthread and the clock that the engine's locks, condition variables, threads
/// and waits end in. Inside run_deterministically() one thread at a time goes on; at each of these calls another may be
/// chosen. The engine is the one that is shipped: nothing of it knows of this.
#pragma once

#include <cstdint>
#include <functional>

namespace penstock::test {

struct Turns {
  std::uint64_t seed = 1;
  unsigned switch_percent = 10;  ///< how often another thread goes on where it can
};

/// Runs `work` and every thread that it starts, which must have ended when it returns. Time stands still while a thread
/// runs, but for a moment a call, and jumps when all threads wait for it. When all wait for each other, or nothing
/// ends, the state of all is printed with `describe()`, and the program ends. Not beside other threads of the program.
void run_deterministically(const Turns& turns, const std::function<void()>& work,
                           const std::function<void()>& describe);

}  // namespace penstock::test
