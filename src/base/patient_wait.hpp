// SPDX-License-Identifier: Apache-2.0
/// Waiting on a condition variable by the thread's rules.
#pragma once

#include <penstock/wait.hpp>

#include "base/mutex.hpp"

#include <chrono>

namespace penstock {

/// For one loop: `while (!done) TRY(wait.on(condition, mutex));`. Most of what is waited for here comes at once, and
/// having another thread take over costs more than that: the rules are told only when it has not come for a while.
class PatientWait {
 public:
  explicit PatientWait(WaitFor what) : what_(what) {}
  ~PatientWait() {
    if (told_ != nullptr) told_->goes_on();
  }
  PatientWait(const PatientWait&) = delete;
  PatientWait& operator=(const PatientWait&) = delete;

  /// Returns woken, or after a while, or for no reason. Errors: WaitRules::forbids(); nothing is waited for then.
  [[nodiscard]] Result<> on(ConditionVariable& condition, Mutex& mutex) REQUIRES(mutex) {
    constexpr std::chrono::microseconds kShortWait{200};
    constexpr std::chrono::milliseconds kBetweenLooks{20};
    auto* const rules = WaitScope::current();
    if (rules == nullptr) {
      condition.wait(mutex);
      return {};
    }
    TRY(Wait::check(what_));
    if (!began_short_) {
      began_short_ = true;
      condition.wait_for(mutex, kShortWait);
      return {};
    }
    if (told_ == nullptr) {
      // Not under the mutex, since that may start a thread.
      mutex.unlock();
      told_ = rules;
      told_->begins_to_wait();
      mutex.lock();
      return {};
    }
    if (rules->changes()) {
      condition.wait_for(mutex, kBetweenLooks);
    } else {
      condition.wait(mutex);
    }
    return {};
  }

 private:
  const WaitFor what_;
  bool began_short_ = false;
  WaitRules* told_ = nullptr;
};

}  // namespace penstock
