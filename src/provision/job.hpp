// SPDX-License-Identifier: Apache-2.0
/// The inside of a Provisioner.
#pragma once

#include <penstock/provisioner.hpp>

#include "base/mutex.hpp"
#include "provision/rate_limiter.hpp"
#include "provision/rate_meter.hpp"

#include <thread>

namespace penstock {

/// Each slot of the executor takes the next step, does it, and accounts for it, until there is none: finding is serial
/// and costs metadata only, reading and storing go side by side.
/// Locks: plan_mutex_ (the cursor; held while the image is asked what is missing), mutex_ (everything else; inner).
class Provisioner::Job {
 public:
  Job(Image& image, Executor& background, Clock& clock, ProvisionOptions options,
      std::function<void(const Progress&)> changed);
  ~Job();

  void start();
  void pause();
  void resume();
  void cancel();
  void set_speed(std::uint64_t bytes_per_second);
  [[nodiscard]] Result<> wait();
  [[nodiscard]] bool wait_for_end(std::chrono::milliseconds patience);
  [[nodiscard]] Progress progress() const;

 private:
  void run();
  /// Tells how it ended, and lets wait() return.
  void leave();
  void work(unsigned slot);
  /// The next range to populate; none at the end, when the job has ended, or when asking failed and that ended it.
  [[nodiscard]] std::optional<GuestRange> next_step();
  [[nodiscard]] Result<std::optional<GuestRange>> find_step() REQUIRES(plan_mutex_);
  /// Does it, and again as long as the policy says so. False: the job has ended.
  [[nodiscard]] bool do_step(GuestRange step);
  [[nodiscard]] Result<> flush_when_due();
  [[nodiscard]] Result<> finish();

  /// After an error: whether to try again, when the time for that has come.
  [[nodiscard]] bool try_again(const Error& error, unsigned tries);
  void give_way(unsigned slot, std::chrono::nanoseconds last_step);
  [[nodiscard]] bool guest_is_busy();
  void wait_for_tokens();
  /// Sleeps in slices, so that a change of state is seen soon. False: the job has ended.
  bool sleep(std::chrono::nanoseconds time);
  /// Waits while the job is paused. False: it has ended.
  [[nodiscard]] bool wait_until_running();
  [[nodiscard]] bool ended() const REQUIRES(mutex_);
  void tell(ProvisionState state) EXCLUDES(mutex_);
  /// Only from one of the states in which the job goes on. False: it was in none.
  bool enter_if_going(ProvisionState state, const Error* error = nullptr) EXCLUDES(mutex_);

  Image& image_;
  Executor& background_;
  Clock& clock_;
  const ProvisionOptions options_;
  const std::function<void(const Progress&)> changed_;
  std::thread thread_;
  std::atomic<bool> cancelled_{false};

  Mutex plan_mutex_;
  GuestOffset cursor_ GUARDED_BY(plan_mutex_);
  /// How far next_step() looks: what it sees behind a short step must be seen again.
  static constexpr std::uint64_t kLookBytes = 8U << 20U;
  std::uint64_t look_bytes_ GUARDED_BY(plan_mutex_) = kLookBytes;

  mutable Mutex mutex_;
  ConditionVariable state_changed_;
  ProvisionState state_ GUARDED_BY(mutex_) = ProvisionState::idle;
  bool at_work_ GUARDED_BY(mutex_) = false;  // its threads run
  unsigned resumes_ GUARDED_BY(mutex_) = 0;  // how often resume() was called: ends waits before the next try
  bool flushing_ GUARDED_BY(mutex_) = false;
  Clock::Time flushed_ GUARDED_BY(mutex_);
  RateLimiter limiter_ GUARDED_BY(mutex_);
  RateMeter copy_meter_ GUARDED_BY(mutex_);
  RateMeter disk_meter_ GUARDED_BY(mutex_);
  std::uint64_t passed_ GUARDED_BY(mutex_) = 0;
  Populated populated_ GUARDED_BY(mutex_);
  std::uint64_t errors_ GUARDED_BY(mutex_) = 0;
  std::optional<Error> error_ GUARDED_BY(mutex_);
  bool exhausted_ GUARDED_BY(mutex_) = false;       // no step is left
  std::uint64_t unflushed_ GUARDED_BY(mutex_) = 0;  // bytes copied since the last flush began
  std::uint64_t requests_seen_ GUARDED_BY(mutex_) = 0;
  Clock::Time busy_until_ GUARDED_BY(mutex_);  // the guest counts as busy
};

}  // namespace penstock
