// SPDX-License-Identifier: Apache-2.0
/// Where copying runs.
#pragma once

#include <functional>
#include <memory>

namespace penstock {

/// Threads: any call from any thread.
class Executor {
 public:
  Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  virtual ~Executor() = default;

  /// How many calls run at the same time, at most.
  [[nodiscard]] virtual unsigned slots() const noexcept = 0;
  /// Calls `work(0)` on this thread and beside it `work(1)` to `work(slots() - 1)`, each on a thread of its own, so
  /// that a call may block for long; returns when all have returned. Where the system gives fewer threads there are
  /// fewer calls: `work` takes what is left to do until there is nothing. It must not throw.
  virtual void run_on_all_slots(const std::function<void(unsigned slot)>& work) = 0;
};

/// How many threads serve or copy well on this machine, as long as they need not wait for a disk.
[[nodiscard]] unsigned default_request_slots();

/// `slots` threads for what somebody waits for. 0: default_request_slots().
[[nodiscard]] std::unique_ptr<Executor> make_request_executor(unsigned slots);

/// As above, in the background: the threads, and the one that calls run_on_all_slots(), give way to others for good.
[[nodiscard]] std::unique_ptr<Executor> make_background_executor(unsigned slots);

}  // namespace penstock
