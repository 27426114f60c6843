// SPDX-License-Identifier: Apache-2.0
/// A call that may wait for ever, for somebody who will not.
#pragma once

#include <penstock/wait.hpp>

#include "base/mutex.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

namespace penstock {

/// Makes calls on a thread of its own, one at a time, each by a WaitLimit of its patience. Threads: any, one at a time.
/// Destruction waits for the call in hand: see wait_until_idle() first.
template <typename T>
class TimedCall {
 public:
  TimedCall() = default;
  TimedCall(const TimedCall&) = delete;
  TimedCall& operator=(const TimedCall&) = delete;
  ~TimedCall() {
    if (thread_.joinable()) thread_.join();
  }

  /// What `work` gives; nothing when that takes longer than `patience`, when the call before is not over, or when the
  /// system gives no thread. `work` goes on then, so it must own what it uses, or that must outlive this.
  [[nodiscard]] std::optional<T> operator()(std::function<T()> work, std::chrono::milliseconds patience) {
    if (!wait_until_idle({})) return std::nullopt;
    if (thread_.joinable()) thread_.join();
    const auto deadline = WaitLimit::Clock::now() + patience;
    {
      const MutexLock lock(mutex_);
      result_.reset();
      running_ = true;
    }
    try {
      thread_ = std::thread([this, deadline, work = std::move(work)] { run(work, deadline); });
    } catch (const std::system_error&) {
      const MutexLock lock(mutex_);
      running_ = false;
      return std::nullopt;
    }
    if (!wait_until_idle(patience)) return std::nullopt;
    const MutexLock lock(mutex_);
    return std::exchange(result_, std::nullopt);
  }

  /// Whether no call is being made, at the latest after `patience`.
  [[nodiscard]] bool wait_until_idle(std::chrono::milliseconds patience) {
    const auto give_up = WaitLimit::Clock::now() + patience;
    const MutexLock lock(mutex_);
    while (running_) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(give_up - WaitLimit::Clock::now());
      if (left.count() <= 0) return false;
      idle_.wait_for(mutex_, left);
    }
    return true;
  }

 private:
  void run(const std::function<T()>& work, WaitLimit::Clock::time_point deadline) {
    WaitLimit limit(deadline);
    const WaitScope scope(&limit);
    auto result = work();
    const MutexLock lock(mutex_);
    result_ = std::move(result);
    running_ = false;
    idle_.notify_all();
  }

  Mutex mutex_;
  ConditionVariable idle_;
  bool running_ GUARDED_BY(mutex_) = false;
  std::optional<T> result_ GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace penstock
