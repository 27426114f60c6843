// SPDX-License-Identifier: Apache-2.0
/// The threads that receive, serve and answer.
#pragma once

#include "base/mutex.hpp"
#include "fuse/session.hpp"

#include <penstock/executor.hpp>

#include <pthread.h>

#include <atomic>
#include <optional>
#include <set>

namespace penstock::fuse {

/// Runs the session's receive loop on every slot of an executor.
/// Threads: run() on one thread, stop() on any other.
class Slots {
 public:
  Slots(Session& session, Executor& executor) : session_(session), executor_(executor) {}

  /// Serves until the file system is unmounted or stop() was called. When one loop fails, all end.
  /// Errors: the first failure.
  [[nodiscard]] Result<> run();
  /// Ends all loops that wait for a request, and the others once they have answered. Returns at once.
  void stop();
  [[nodiscard]] bool was_stopped() const noexcept { return stopped_; }

 private:
  void run_slot();

  Session& session_;
  Executor& executor_;
  std::atomic<bool> stopping_{false};  ///< loops end as soon as they look
  std::atomic<bool> stopped_{false};   ///< by stop()
  Mutex mutex_;
  std::multiset<pthread_t> waiting_ GUARDED_BY(mutex_);
  std::optional<Error> failure_ GUARDED_BY(mutex_);
};

}  // namespace penstock::fuse
