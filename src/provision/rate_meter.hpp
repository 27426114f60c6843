// SPDX-License-Identifier: Apache-2.0
/// How fast a counter has grown over the last seconds.
#pragma once

#include <penstock/clock.hpp>

#include <algorithm>
#include <cstdint>
#include <deque>

namespace penstock {

/// Threads: one at a time.
class RateMeter {
 public:
  void count(std::uint64_t total, Clock::Time now) {
    if (!samples_.empty() && now - samples_.back().time < kStep) return;
    samples_.push_back({now, total});
    while (samples_.size() > 2 && now - samples_[1].time > kWindow) samples_.pop_front();
  }
  /// A second; 0 before anything is known.
  [[nodiscard]] double rate(std::uint64_t total, Clock::Time now) const {
    if (samples_.empty()) return 0;
    // The first step is done in no time, and is no rate yet.
    const auto seconds = std::max(std::chrono::duration<double>(now - samples_.front().time).count(), kShortest);
    return static_cast<double>(total - samples_.front().total) / seconds;
  }

 private:
  static constexpr std::chrono::milliseconds kStep{250};
  static constexpr std::chrono::seconds kWindow{5};
  static constexpr double kShortest = 0.5;  // seconds
  struct Sample {
    Clock::Time time;
    std::uint64_t total = 0;
  };
  std::deque<Sample> samples_;
};

}  // namespace penstock
