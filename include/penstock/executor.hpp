// SPDX-License-Identifier: Apache-2.0
/// Where copying runs. The program uses oneTBB arenas, the tests plain threads.
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

  /// How many calls run at the same time.
  [[nodiscard]] virtual unsigned slots() const noexcept = 0;
  /// Calls `work(0)` to `work(slots() - 1)`, all at the same time, and returns when all have returned. A call may block
  /// for long: each has a thread of its own.
  virtual void run_on_all_slots(const std::function<void(unsigned slot)>& work) = 0;
};

/// How many threads serve or copy well on this machine, as long as they need not wait for a disk.
[[nodiscard]] unsigned default_request_slots();

/// `slots` threads for what somebody waits for. 0: default_request_slots().
/// Built on oneTBB, or on plain threads with -Dexecutor=threads.
[[nodiscard]] std::unique_ptr<Executor> make_request_executor(unsigned slots);

/// The background arena: its threads, and the one that calls run_on_all_slots(), give way to others for good.
[[nodiscard]] std::unique_ptr<Executor> make_background_executor(unsigned slots);

}  // namespace penstock
