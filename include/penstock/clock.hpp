// SPDX-License-Identifier: Apache-2.0
/// Time, so that tests can replace it.
#pragma once

#include <chrono>

namespace penstock {

/// Threads: any call from any thread.
class Clock {
 public:
  using Time = std::chrono::steady_clock::time_point;  ///< never goes back

  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;

  [[nodiscard]] virtual Time now() const = 0;
  virtual void sleep_for(std::chrono::nanoseconds time) = 0;
};

/// std::chrono::steady_clock. Lives as long as the program.
[[nodiscard]] Clock& system_clock();

}  // namespace penstock
