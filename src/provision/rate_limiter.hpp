// SPDX-License-Identifier: Apache-2.0
/// A token bucket that may go into debt: what was copied is known only afterwards.
#pragma once

#include <penstock/clock.hpp>

#include <algorithm>
#include <cstdint>

namespace penstock {

/// Units: bytes, bytes per second. Threads: one at a time.
class RateLimiter {
 public:
  explicit RateLimiter(Clock::Time now) : counted_(now) {}

  /// 0: unlimited. What was saved or owed under another rate is forgotten.
  void set_rate(std::uint64_t bytes_per_second, Clock::Time now) {
    rate_ = bytes_per_second;
    credit_ = 0;
    counted_ = now;
  }
  [[nodiscard]] std::uint64_t rate() const { return rate_; }

  void charge(std::uint64_t bytes, Clock::Time now) {
    if (rate_ == 0) return;
    refill(now);
    credit_ -= static_cast<double>(bytes);
  }
  /// How long to wait before the next step.
  [[nodiscard]] std::chrono::nanoseconds delay(Clock::Time now) {
    if (rate_ == 0) return {};
    refill(now);
    if (credit_ >= 0) return {};
    return std::chrono::nanoseconds(static_cast<std::int64_t>(-credit_ / static_cast<double>(rate_) * 1e9));
  }

 private:
  // A tenth of a second can be saved up: enough for the pauses of a busy machine, too little for a burst.
  void refill(Clock::Time now) {
    const auto seconds = std::chrono::duration<double>(now - counted_).count();
    counted_ = now;
    const auto rate = static_cast<double>(rate_);
    credit_ = std::min(credit_ + seconds * rate, rate / 10);
  }

  std::uint64_t rate_ = 0;
  double credit_ = 0;
  Clock::Time counted_;
};

}  // namespace penstock
