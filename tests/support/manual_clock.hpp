// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/clock.hpp>

#include <atomic>

namespace penstock::test {

/// Sleeping takes no time but moves the clock: an hour passes in a moment, and a run repeats.
class ManualClock final : public Clock {
 public:
  [[nodiscard]] Time now() const override { return Time(std::chrono::nanoseconds(now_.load())); }
  void sleep_for(std::chrono::nanoseconds time) override { now_ += time.count(); }

 private:
  std::atomic<std::int64_t> now_{1'000'000'000};
};

}  // namespace penstock::test
