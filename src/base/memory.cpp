// SPDX-License-Identifier: Apache-2.0
#include "base/memory.hpp"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>

namespace penstock {

namespace {

constexpr std::size_t kReserveBytes = 4U << 20U;
constexpr std::chrono::milliseconds kPause{10};
constexpr unsigned kPausesMax = 6000;

std::atomic<void*> reserve{nullptr};

/// Without a byte of memory.
[[noreturn]] void give_up() {
  constexpr std::string_view kWords =
      "penstock: no memory for a minute in the middle of a change; ending as by a crash, what was synced is safe\n";
  static_cast<void>(!write(STDERR_FILENO, kWords.data(), kWords.size()));
  std::abort();
}

/// Promised is not given: touched, it is ours even where the kernel promises more than it has.
void* new_reserve() {
  void* const made = std::malloc(kReserveBytes);
  if (made != nullptr) std::memset(made, 1, kReserveBytes);
  return made;
}

}  // namespace

thread_local unsigned MustHaveMemory::depth_ = 0;
std::atomic<bool> MustHaveMemory::reserve_spent_{false};

void MustHaveMemory::renew_reserve() {
  void* const made = new_reserve();
  if (made == nullptr) throw std::bad_alloc();
  reserve_spent_ = false;
  // Another thread may have been faster.
  std::free(reserve.exchange(made));
}

void MustHaveMemory::on_exhaustion() {
  thread_local unsigned pauses = 0;
  if (!here()) throw std::bad_alloc();
  if (void* const held = reserve.exchange(nullptr); held != nullptr) {
    reserve_spent_ = true;
    std::free(held);
    pauses = 0;
    return;
  }
  if (++pauses > kPausesMax) give_up();
  std::this_thread::sleep_for(kPause);
}

void wait_for_memory() {
  reserve = new_reserve();
  std::set_new_handler(MustHaveMemory::on_exhaustion);
}

}  // namespace penstock
