// SPDX-License-Identifier: Apache-2.0
/// ^C ends a long command in order: what it has begun it takes away.
#pragma once

#include <stop_token>
#include <thread>

namespace penstock::cli {

/// While this lives, SIGINT, SIGTERM and SIGHUP ask for a stop instead of ending the process. Make it before any other
/// thread: threads inherit that the signals are blocked.
class Interruptible {
 public:
  Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
  ~Interruptible();

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::jthread waiter_;
};

}  // namespace penstock::cli
