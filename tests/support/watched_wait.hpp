// SPDX-License-Identifier: Apache-2.0
/// A wait that a test can see and end, however slow the machine is.
#pragma once

#include <penstock/wait.hpp>

#include <atomic>
#include <chrono>
#include <future>

namespace penstock::test {

/// Rules for one call in another thread. Threads: any for all but what WaitRules says.
class WatchedWait final : public WaitRules {
 public:
  [[nodiscard]] bool observes() const noexcept override { return true; }
  void begins_to_wait() noexcept override { told_ = true; }
  [[nodiscard]] std::optional<Error> forbids(WaitFor what) const noexcept override { return limit_.forbids(what); }
  [[nodiscard]] bool changes() const noexcept override { return true; }

  /// Whether the call that gives `result` came to wait; false: it ended without.
  template <typename Outcome>
  [[nodiscard]] bool see_a_wait(const std::future<Outcome>& result) const {
    while (!told_) {
      if (result.wait_for(std::chrono::milliseconds(1)) == std::future_status::ready) return told_;
    }
    return true;
  }
  /// Has the call end with ECANCELED as soon as it looks.
  void cancel() { cancelled_ = true; }

 private:
  std::atomic<bool> told_{false};
  std::atomic<bool> cancelled_{false};
  const WaitLimit limit_{std::nullopt, &cancelled_};
};

}  // namespace penstock::test
