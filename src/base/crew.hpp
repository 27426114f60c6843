// SPDX-License-Identifier: Apache-2.0
/// Threads that are made one at a time, as they are needed.
#pragma once

#include "base/mutex.hpp"

#include <penstock/error.hpp>

#include <pthread.h>

#include <functional>
#include <vector>

namespace penstock {

/// A new thread inherits what the thread that made it may do. Threads: add() and interrupt() on any; the rest on one.
class Crew {
 public:
  /// At most `most` threads at a time, each of which runs `work` once. `work` must not throw. None is added beyond
  /// which the system would not give `spare` more, at most kSpareMost: somebody needs these to end all this.
  Crew(unsigned most, std::function<void()> work, unsigned spare = 0);
  static constexpr unsigned kSpareMost = 4;
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  /// Waits for the end of all.
  ~Crew();

  /// Starts one more. Allocates nothing but what the C library needs for it. 0; EBUSY: there are as many as may be;
  /// else why the system has none to give: EAGAIN, a limit, or no memory. Source: pthread_create(3).
  [[nodiscard]] int add() noexcept;
  /// Of those whose work has not ended.
  [[nodiscard]] unsigned size() noexcept;
  /// Sends a signal to all, which does not reach those that have ended.
  void interrupt(int signal) noexcept;

 private:
  static void* run(void* crew);
  void end_this() noexcept;
  void join_ended() noexcept REQUIRES(mutex_);
  [[nodiscard]] int start(const pthread_attr_t& attributes) noexcept REQUIRES(mutex_);
  [[nodiscard]] int start_beside_others(const pthread_attr_t& attributes) noexcept REQUIRES(mutex_);

  const unsigned most_;
  const unsigned spare_;
  const std::function<void()> work_;
  Mutex mutex_;
  ConditionVariable all_ended_;
  std::vector<pthread_t> threads_ GUARDED_BY(mutex_);  ///< whose work has not ended
  std::vector<pthread_t> ended_ GUARDED_BY(mutex_);    ///< to be joined, which does not take long any more
};

}  // namespace penstock
