// SPDX-License-Identifier: Apache-2.0
#include <penstock/executor.hpp>

#include "base/crew.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace penstock {

namespace {

/// The calling thread gives way to threads of normal priority, but is not starved by them: it may hold clusters that a
/// request waits for. For good: raising it again would need a privilege.
void yield_to_others() {
  constexpr int kNice = 10;
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
}

class CrewExecutor final : public Executor {
 public:
  CrewExecutor(unsigned slots, bool background) : slots_(slots), background_(background) {}

  [[nodiscard]] unsigned slots() const noexcept override { return slots_; }

  void run_on_all_slots(const std::function<void(unsigned slot)>& work) override {
    std::atomic<unsigned> next_slot{0};
    const auto run_next = [&] {
      if (background_) yield_to_others();
      work(next_slot++);
    };
    Crew others(slots_ - 1, run_next);
    // Counted, since the place of one that is done already is free again.
    for (unsigned made = 1; made < slots_ && others.add() == 0; ++made) continue;
    run_next();
  }

 private:
  const unsigned slots_;
  const bool background_;
};

}  // namespace

unsigned default_request_slots() {
  // They spend most of their time waiting for disks, so there are more of them than cores; behind 32 more threads only
  // cost memory.
  return std::clamp(2 * std::thread::hardware_concurrency(), 4U, 32U);
}

std::unique_ptr<Executor> make_request_executor(unsigned slots) {
  return std::make_unique<CrewExecutor>(slots == 0 ? default_request_slots() : slots, false);
}

std::unique_ptr<Executor> make_background_executor(unsigned slots) {
  return std::make_unique<CrewExecutor>(std::max(slots, 1U), true);
}

}  // namespace penstock
