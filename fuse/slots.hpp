// SPDX-License-Identifier: Apache-2.0
/// The threads that receive, serve and answer.
#pragma once

#include "base/crew.hpp"
#include "base/grace.hpp"
#include "base/mutex.hpp"
#include "fuse/session.hpp"

#include <penstock/wait.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace penstock::fuse {

/// Runs the session's receive loop on threads of its own, slots, which are made when they are needed. Of those that
/// have a request or wait for one, `serving` work at a time, since more would only take the cores from each other. A
/// slot that waits for a disk does not count: another, which was parked or is made now, takes its place meanwhile, so
/// that the disk gets as many requests at a time as the kernel has, while what the page cache holds is served without
/// handing anything over. Nor does one that has served the same request for some milliseconds, whatever it waits for:
/// run() looks. So a request that need not wait is answered however many others do. Where requests come over io_uring,
/// the slots serve those that wait for a disk, and what still comes by the device. Threads: run() on one thread, stop()
/// on any other.
///
/// A slot is one of: parked (waits until it is needed; or serves what was handed on), ready (waits for a request, or is
/// on its way to), serving, blocked (serving, but waiting). Active: ready or serving. A few are kept parked; who is one
/// too many then ends.
class Slots {
 public:
  /// What it takes to end an ordinary user's mount: who asks for it (penstock umount), and fusermount3. Both count
  /// against the limit on the user's processes and threads (RLIMIT_NPROC).
  static constexpr unsigned kTasksToEnd = 2;
  /// At most `serving` and `blocked` slots at a time.
  Slots(Session& session, FileSystem& system, unsigned serving, unsigned blocked);

  /// Serves until the file system is unmounted or stop() was called, and what was received then is answered, as long as
  /// `grace`, made when that begins, allows: left_waiting(). When one loop fails, all end.
  /// Errors: the first failure, or that the system does not give one thread. With fewer than there could be it serves.
  [[nodiscard]] Result<> run(const std::function<Grace()>& grace);
  /// After run(): slots that still wait with a request. With any, this can not be destroyed before they have ended.
  [[nodiscard]] unsigned left_waiting();
  /// Has another thread serve a request that would keep its receiver waiting. False: it is the caller's still, since
  /// all end or no thread can be had.
  [[nodiscard]] bool hand_on(Request& request);
  /// Ends all loops that wait for a request, and the others once they have answered. Returns at once.
  void stop();
  [[nodiscard]] bool was_stopped() const noexcept { return stopped_; }
  /// Until the loops end, for whatever reason, but no longer than `patience`: whether they do. Any thread but theirs.
  [[nodiscard]] bool wait_for_end(std::chrono::milliseconds patience);

 private:
  /// One slot's: sees it receive, and wait.
  class Watch final : public WaitRules, public Receiver {
   public:
    explicit Watch(Slots& of);
    [[nodiscard]] bool observes() const noexcept override { return true; }
    void begins_to_wait() noexcept override;
    void goes_on() noexcept override;
    [[nodiscard]] bool receives_on() noexcept override;
    void received() noexcept override;
    /// It will not receive, for now.
    void leaves() noexcept;
    /// Main thread: when it has served the same request since the last look it counts as blocked. True while it
    /// serves, or when it has since the last look.
    [[nodiscard]] bool look() noexcept;

    Slots& slots;
    unsigned at_once;    ///< requests served since one that had to wait
    bool ready = false;  ///< is counted as such

   private:
    static constexpr std::uint32_t kServing = 1;
    static constexpr std::uint32_t kBlocked = 2;  ///< is not counted as active
    static constexpr std::uint32_t kNext = 4;     ///< the rest counts requests
    void end_request() noexcept;

    std::atomic<std::uint32_t> turn_{0};
    std::uint32_t seen_ = 0;  ///< main thread's
  };

  /// Makes the first slot, the least that there must be, and a second if it can.
  [[nodiscard]] Result<> begin();
  /// Looks at the slots as long as they serve. As long as the system gives fewer threads than are needed, it is asked
  /// again now and then.
  void wait_for_the_end(const std::function<Grace()>& grace);
  /// Whether any slot serves, or has since the last look.
  [[nodiscard]] bool look_at_slots() noexcept REQUIRES(turn_mutex_);
  void wake_main() noexcept;
  void run_slot();
  enum class Turn : std::uint8_t { receive, all_end, surplus };
  [[nodiscard]] Result<Turn> serve(Watch& watch);
  /// A slot was ready, and is not any more: whether another has to take its place.
  void see_to_receivers() noexcept;
  [[nodiscard]] bool lacks_receivers() const noexcept;
  /// Unless enough are active, one of the parked receives, or a new one. 0, or errno when there is none.
  int call_one() noexcept REQUIRES(turn_mutex_);
  /// Sees that one is parked that nobody has asked for yet. 0, or errno when there is none.
  [[nodiscard]] int find_parked() noexcept REQUIRES(turn_mutex_);
  void tell_of_shortage(int number) noexcept REQUIRES(turn_mutex_);
  /// Parks unless it is needed, or there are enough that are parked.
  [[nodiscard]] Turn wait_for_turn(Watch& watch);
  /// Waits until it is called, serving what is handed on. The caller is counted as parked before.
  [[nodiscard]] Turn stand_by(Watch& watch);
  /// The next that was handed on; null: the slot's turn has come, or the end.
  [[nodiscard]] Request* next_handed_on(bool& end);
  void fail(const Error& error);
  void end_all() REQUIRES(turn_mutex_);

  Session& session_;
  FileSystem& system_;
  const int serving_;
  std::atomic<int> active_{0};
  std::atomic<int> ready_{0};  ///< right until as many slots were made as serve at a time
  std::atomic<bool> all_serving_made_{false};
  std::atomic<bool> stopping_{false};     ///< loops end as soon as they look
  std::atomic<bool> stopped_{false};      ///< by stop()
  std::atomic<bool> main_sleeps_{false};  ///< does not look: nobody served when it did
  Mutex turn_mutex_;
  ConditionVariable turn_;
  ConditionVariable main_turn_;  ///< run()'s
  ConditionVariable end_;
  int parked_ GUARDED_BY(turn_mutex_) = 0;               ///< or are on their way there
  int called_ GUARDED_BY(turn_mutex_) = 0;               ///< of the parked: are counted as active and ready already
  int queued_ GUARDED_BY(turn_mutex_) = 0;               ///< requests that were handed on and wait
  int helping_ GUARDED_BY(turn_mutex_) = 0;              ///< serve what was handed on
  int running_ GUARDED_BY(turn_mutex_) = 0;              ///< slots that have not ended
  std::vector<Watch*> watches_ GUARDED_BY(turn_mutex_);  ///< of the running
  bool short_of_threads_ GUARDED_BY(turn_mutex_) = false;
  unsigned refusals_ GUARDED_BY(turn_mutex_) = 0;  ///< of the system, one after the other
  bool shortage_told_ GUARDED_BY(turn_mutex_) = false;
  Request* handed_on_ GUARDED_BY(turn_mutex_) = nullptr;  ///< the first, which leads to the next
  Request* last_handed_on_ GUARDED_BY(turn_mutex_) = nullptr;
  std::optional<Error> failure_ GUARDED_BY(turn_mutex_);
  Crew crew_;
};

}  // namespace penstock::fuse
