// SPDX-License-Identifier: Apache-2.0
/// The threads that receive, serve and answer.
#pragma once

#include "base/blocking.hpp"
#include "base/mutex.hpp"
#include "fuse/session.hpp"

#include <penstock/executor.hpp>

#include <pthread.h>

#include <atomic>
#include <optional>
#include <set>

namespace penstock::fuse {

/// Runs the session's receive loop on slots of an executor: on `serving` of them at a time, since more would only take
/// the cores from each other. A slot that waits for a disk does not count: one of the others, which are parked, takes
/// its place meanwhile, so that the disk gets as many requests at a time as the kernel has, while what the page cache
/// holds is served without handing anything over. Where requests come over io_uring, the slots serve those that wait
/// for a disk, and what still comes by the device. Threads: run() on one thread, stop() on any other.
class Slots {
 public:
  Slots(Session& session, FileSystem& system, Executor& executor, unsigned serving)
      : session_(session), system_(system), executor_(executor), serving_(static_cast<int>(serving)) {}

  /// Serves until the file system is unmounted or stop() was called. When one loop fails, all end.
  /// Errors: the first failure.
  [[nodiscard]] Result<> run();
  /// Has a parked slot serve a request that would keep its receiver waiting. False: all end, it is the caller's still.
  [[nodiscard]] bool hand_on(Request& request);
  /// Ends all loops that wait for a request, and the others once they have answered. Returns at once.
  void stop();
  [[nodiscard]] bool was_stopped() const noexcept { return stopped_; }

 private:
  /// One slot's: sees it wait.
  class Watch final : public BlockingObserver {
   public:
    explicit Watch(Slots& of);
    void begins_to_block() noexcept override;
    void goes_on() noexcept override;

    Slots& slots;
    unsigned at_once;  ///< requests served since one that had to wait
  };

  void run_slot();
  [[nodiscard]] Result<> serve(Watch& watch);
  /// A slot begins to wait, and too few are left: another takes its place, if there is one.
  void call_one() noexcept;
  /// Waits until one is needed, serving what others hand on. False: all end.
  [[nodiscard]] bool wait_for_turn();
  /// The next that was handed on; null: the slot's turn has come, or the end.
  [[nodiscard]] Request* next_handed_on(bool& end);
  void fail(const Error& error);
  void end_all();

  Session& session_;
  FileSystem& system_;
  Executor& executor_;
  const int serving_;
  std::atomic<int> active_{0};         ///< slots that receive or serve, and do not wait for a disk
  std::atomic<bool> stopping_{false};  ///< loops end as soon as they look
  std::atomic<bool> stopped_{false};   ///< by stop()
  Mutex turn_mutex_;
  ConditionVariable turn_;
  int parked_ GUARDED_BY(turn_mutex_) = 0;
  int called_ GUARDED_BY(turn_mutex_) = 0;  ///< of the parked: are counted as active already, and on their way
  Request* handed_on_ GUARDED_BY(turn_mutex_) = nullptr;  ///< the first, which leads to the next
  Request* last_handed_on_ GUARDED_BY(turn_mutex_) = nullptr;
  Mutex mutex_;
  std::multiset<pthread_t> threads_ GUARDED_BY(mutex_);
  std::optional<Error> failure_ GUARDED_BY(mutex_);
};

}  // namespace penstock::fuse
