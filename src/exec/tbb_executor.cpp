// SPDX-License-Identifier: Apache-2.0
// The one place for oneTBB.
#include <penstock/executor.hpp>

#include "base/mutex.hpp"
#include "exec/slot_threads.hpp"

#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <optional>
#include <thread>

namespace penstock {

namespace {

/// Counts down calls that are still running.
class Countdown {
 public:
  explicit Countdown(unsigned count) : count_(count) {}

  void done() {
    const MutexLock lock(mutex_);
    // Notified under the lock: once wait() has seen 0, this object may be gone.
    if (--count_ == 0) zero_.notify_all();
  }
  void wait() {
    const MutexLock lock(mutex_);
    while (count_ != 0) zero_.wait(mutex_);
  }

 private:
  Mutex mutex_;
  ConditionVariable zero_;
  unsigned count_ GUARDED_BY(mutex_);
};

/// oneTBB gives all arenas together at most as many workers as there are cores, unless it is told more. Of several
/// global_control objects the smallest wins, so there is one, for the sum of all executors.
class WorkerCap {
 public:
  static WorkerCap& instance() {
    static WorkerCap cap;
    return cap;
  }
  void add(unsigned slots) {
    const MutexLock lock(mutex_);
    slots_ += slots;
    apply();
  }
  void remove(unsigned slots) {
    const MutexLock lock(mutex_);
    slots_ -= slots;
    apply();
  }

 private:
  void apply() REQUIRES(mutex_) {
    control_.reset();
    if (slots_ == 0) return;
    // The threads that call run_on_all_slots() count here though they are no workers.
    control_.emplace(tbb::global_control::max_allowed_parallelism, slots_ + std::thread::hardware_concurrency() + 1);
  }

  Mutex mutex_;
  std::size_t slots_ GUARDED_BY(mutex_) = 0;
  std::optional<tbb::global_control> control_ GUARDED_BY(mutex_);
};

class TbbExecutor final : public Executor {
 public:
  TbbExecutor(unsigned slots, bool background)
      : slots_(slots),
        background_(background),
        arena_(static_cast<int>(slots), 1,
               background ? tbb::task_arena::priority::low : tbb::task_arena::priority::normal) {
    WorkerCap::instance().add(slots_);
  }
  TbbExecutor(const TbbExecutor&) = delete;
  TbbExecutor& operator=(const TbbExecutor&) = delete;
  ~TbbExecutor() override { WorkerCap::instance().remove(slots_); }

  [[nodiscard]] unsigned slots() const noexcept override { return slots_; }

  void run_on_all_slots(const std::function<void(unsigned slot)>& work) override {
    // Enqueued, not spawned: the calls start in any order on workers of their own and none waits on the stack of
    // another, so a call that blocks for ever holds up nobody.
    Countdown others(slots_ - 1);
    for (unsigned slot = 1; slot < slots_; ++slot) {
      arena_.enqueue([this, &work, &others, slot] {
        if (background_) yield_to_others();
        work(slot);
        others.done();
      });
    }
    if (background_) yield_to_others();
    arena_.execute([&work] { work(0); });
    others.wait();
  }

 private:
  const unsigned slots_;
  const bool background_;
  tbb::task_arena arena_;
};

}  // namespace

unsigned default_request_slots() {
  return slots_for_cores();
}

std::unique_ptr<Executor> make_request_executor(unsigned slots) {
  return std::make_unique<TbbExecutor>(slots == 0 ? default_request_slots() : slots, false);
}

std::unique_ptr<Executor> make_background_executor(unsigned slots) {
  return std::make_unique<TbbExecutor>(std::max(slots, 1U), true);
}

}  // namespace penstock
