// SPDX-License-Identifier: Apache-2.0
#include "base/memory.hpp"

#include "base/mutex.hpp"

#include <penstock/range.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
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
void touch(void* room) {
  // In one call where the kernel has it (5.14): a page fault for each page takes ten times as long.
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = align_up(reinterpret_cast<std::uintptr_t>(room), page);
  const auto end = align_down(reinterpret_cast<std::uintptr_t>(room) + kReserveBytes, page);
  if (madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE) == 0) return;
  std::memset(room, 1, kReserveBytes);
}

}  // namespace

thread_local unsigned MustHaveMemory::depth_ = 0;
std::atomic<bool> MustHaveMemory::reserve_wanted_{false};
std::atomic<bool> MustHaveMemory::reserve_untouched_{false};

void MustHaveMemory::renew_reserve() {
  static Mutex mutex;
  const MutexLock lock(mutex);
  if (!reserve_wanted_) return;  // another thread was faster
  void* held = reserve.exchange(nullptr);
  if (held == nullptr) held = std::malloc(kReserveBytes);
  if (held == nullptr) throw std::bad_alloc();
  touch(held);
  // Before it can be taken: whoever takes it wants the next one.
  reserve_wanted_ = false;
  reserve_untouched_ = false;
  reserve = held;
}

void MustHaveMemory::on_exhaustion() {
  thread_local unsigned pauses = 0;
  if (!here()) throw std::bad_alloc();
  if (void* const held = reserve.exchange(nullptr); held != nullptr) {
    reserve_wanted_ = true;
    std::free(held);
    pauses = 0;
    return;
  }
  if (++pauses > kPausesMax) give_up();
  std::this_thread::sleep_for(kPause);
}

void wait_for_memory() {
  reserve = std::malloc(kReserveBytes);
  MustHaveMemory::reserve_wanted_ = true;
  MustHaveMemory::reserve_untouched_ = true;
  std::set_new_handler(MustHaveMemory::on_exhaustion);
}

}  // namespace penstock
