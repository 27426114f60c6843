// SPDX-License-Identifier: Apache-2.0
// Plain threads instead of oneTBB, for the thread sanitizer, which cannot see how oneTBB hands over work.
#include <penstock/executor.hpp>

#include "exec/slot_threads.hpp"

#include <algorithm>
#include <thread>
#include <vector>

namespace penstock {

namespace {

class ThreadExecutor final : public Executor {
 public:
  ThreadExecutor(unsigned slots, bool background) : slots_(slots), background_(background) {}

  [[nodiscard]] unsigned slots() const noexcept override { return slots_; }

  void run_on_all_slots(const std::function<void(unsigned slot)>& work) override {
    std::vector<std::jthread> others;
    others.reserve(slots_);
    for (unsigned slot = 1; slot < slots_; ++slot) {
      others.emplace_back([this, &work, slot] {
        if (background_) yield_to_others();
        work(slot);
      });
    }
    if (background_) yield_to_others();
    work(0);
  }

 private:
  const unsigned slots_;
  const bool background_;
};

}  // namespace

unsigned default_request_slots() {
  return slots_for_cores();
}

std::unique_ptr<Executor> make_request_executor(unsigned slots) {
  return std::make_unique<ThreadExecutor>(slots == 0 ? default_request_slots() : slots, false);
}

std::unique_ptr<Executor> make_background_executor(unsigned slots) {
  return std::make_unique<ThreadExecutor>(std::max(slots, 1U), true);
}

}  // namespace penstock
