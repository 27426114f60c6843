// SPDX-License-Identifier: Apache-2.0
// Plain threads instead of oneTBB, for the thread sanitizer, which cannot see how oneTBB hands over work.
#include <penstock/executor.hpp>

#include "exec/default_slots.hpp"

#include <thread>
#include <vector>

namespace penstock {

namespace {

class ThreadExecutor final : public Executor {
 public:
  explicit ThreadExecutor(unsigned slots) : slots_(slots) {}

  [[nodiscard]] unsigned slots() const noexcept override { return slots_; }

  void run_on_all_slots(const std::function<void(unsigned slot)>& work) override {
    std::vector<std::jthread> others;
    others.reserve(slots_);
    for (unsigned slot = 1; slot < slots_; ++slot) others.emplace_back([&work, slot] { work(slot); });
    work(0);
  }

 private:
  const unsigned slots_;
};

}  // namespace

std::unique_ptr<Executor> make_request_executor(unsigned slots) {
  return std::make_unique<ThreadExecutor>(slots == 0 ? default_slots() : slots);
}

}  // namespace penstock
