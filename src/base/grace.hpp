// SPDX-License-Identifier: Apache-2.0
/// How long an end is waited for.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

namespace penstock {

/// Time for what has to end, which may wait for somebody who does not answer. Threads: one.
class Grace {
 public:
  using Clock = std::chrono::steady_clock;
  /// `excused`: that it takes long has a good reason for now, as a flush of much to a slow disk; empty: never.
  explicit Grace(std::chrono::milliseconds time, std::function<bool()> excused = {})
      : time_(time), excused_(std::move(excused)), end_(Clock::now() + time) {}

  /// Asked again and again while waiting. Time in which it was excused does not count.
  [[nodiscard]] bool is_over() {
    const auto now = Clock::now();
    if (excused_ && excused_()) end_ = now + time_;
    return now >= end_;
  }

 private:
  const std::chrono::milliseconds time_;
  const std::function<bool()> excused_;
  Clock::time_point end_;
};

}  // namespace penstock
