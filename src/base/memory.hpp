// SPDX-License-Identifier: Apache-2.0
/// When memory runs out: where it may fail, where it is waited for.
#pragma once

#include <penstock/error.hpp>

#include <atomic>
#include <new>
#include <utility>

namespace penstock {

/// What `call` gives; ENOMEM when memory ran out in it. For calls that can be made again, at the top of a thread.
template <typename Call>
[[nodiscard]] auto or_out_of_memory(Call&& call) -> decltype(call()) {
  try {
    return std::forward<Call>(call)();
  } catch (const std::bad_alloc&) {
    // Short enough to need no memory itself.
    return fail(ENOMEM, "no memory");
  }
}

/// While one lives, this thread is in the middle of a change that cannot be left half done: with wait_for_memory() in
/// force it is not told that there is no memory: it is given some of a reserve, or waits.
class MustHaveMemory {
 public:
  /// Throws std::bad_alloc, before anything is begun, when the reserve is not there and cannot be had.
  MustHaveMemory() {
    if (depth_ == 0 && reserve_wanted_.load(std::memory_order_relaxed)) renew_reserve();
    ++depth_;
  }
  /// For what has begun already and must go on: destructors.
  explicit MustHaveMemory(std::nothrow_t /*unused*/) noexcept { ++depth_; }
  ~MustHaveMemory() { --depth_; }
  MustHaveMemory(const MustHaveMemory&) = delete;
  MustHaveMemory& operator=(const MustHaveMemory&) = delete;

  [[nodiscard]] static bool here() noexcept { return depth_ != 0; }
  /// wait_for_memory() is in force, and no change was begun so far.
  [[nodiscard]] static bool never_needed() noexcept { return reserve_untouched_; }

 private:
  friend void wait_for_memory();
  static void renew_reserve();
  static void on_exhaustion();

  static thread_local unsigned depth_;
  static std::atomic<bool> reserve_wanted_;
  static std::atomic<bool> reserve_untouched_;
};

/// From now on std::new_handler keeps to that: first it gives a reserve, then what other threads give back; when a
/// minute has not brought any the process ends as by a crash, which loses nothing that was synced. Elsewhere
/// std::bad_alloc is thrown, as ever. Of the reserve there is only the address until the first change, so that who
/// changes nothing keeps no memory for it. For a whole process, once: the program decides, not the library.
void wait_for_memory();

}  // namespace penstock
