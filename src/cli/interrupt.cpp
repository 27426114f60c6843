// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.hpp"

#include "base/ending_signals.hpp"

#include <csignal>
#include <ctime>

namespace penstock::cli {

Interruptible::Interruptible() {
  const sigset_t set = ending_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  waiter_ = std::jthread([set, source = source_](const std::stop_token& over) mutable {
    // Waits in slices, so that the end of the command is seen too.
    const timespec slice{.tv_sec = 0, .tv_nsec = 50'000'000};
    while (!over.stop_requested()) {
      if (sigtimedwait(&set, nullptr, &slice) > 0) source.request_stop();
    }
  });
}

Interruptible::~Interruptible() {
  waiter_.request_stop();
  waiter_.join();
  const sigset_t set = ending_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace penstock::cli
