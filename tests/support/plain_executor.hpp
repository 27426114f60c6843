// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/executor.hpp>

#include <thread>
#include <vector>

namespace penstock::test {

/// A thread a slot, and nothing that spins or outlives the call: a run of it can be repeated.
class PlainExecutor final : public Executor {
 public:
  explicit PlainExecutor(unsigned slots) : slots_(slots) {}
  [[nodiscard]] unsigned slots() const noexcept override { return slots_; }
  void run_on_all_slots(const std::function<void(unsigned slot)>& work) override {
    std::vector<std::jthread> others;
    for (unsigned slot = 1; slot < slots_; ++slot) {
      others.emplace_back([&work, slot] { work(slot); });
    }
    work(0);
  }

 private:
  const unsigned slots_;
};

}  // namespace penstock::test
