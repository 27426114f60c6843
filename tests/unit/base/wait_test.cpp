// SPDX-License-Identifier: Apache-2.0
#include <penstock/wait.hpp>

#include "base/grace.hpp"
#include "base/patient_wait.hpp"
#include "base/timed_call.hpp"

#include "tests/support/expect.hpp"
#include "tests/support/watched_wait.hpp"

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

namespace penstock::test {
namespace {

using Clock = WaitLimit::Clock;
using std::chrono::milliseconds;
using std::chrono::minutes;

/// Counts what it is told, and forbids what it is set to.
class Rules final : public WaitRules {
 public:
  [[nodiscard]] bool observes() const noexcept override { return true; }
  void begins_to_wait() noexcept override { ++begun; }
  void goes_on() noexcept override { ++ended; }
  [[nodiscard]] std::optional<Error> forbids(WaitFor what) const noexcept override {
    if (forbidden == what) return Error::would_wait();
    return std::nullopt;
  }
  std::optional<WaitFor> forbidden;
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
};

TEST(Error, OfACallThatWouldWaitCostsNoTextAndKeepsItsKind) {
  const Error plain(EAGAIN, "try again");
  EXPECT_FALSE(plain.is_would_wait());
  const Error would_wait = Error::would_wait().in("disk.qcow2");
  EXPECT_TRUE(would_wait.is_would_wait());
  EXPECT_TRUE(would_wait.is(EAGAIN));
  EXPECT_EQ(would_wait.message(), "");
}

TEST(Wait, WithoutRulesIsAllowedAndToldToNobody) {
  EXPECT_OK(Wait::check(WaitFor::turn));
  EXPECT_OK(Wait::check(WaitFor::bytes));
  EXPECT_FALSE(Wait::is_observed());
  const Wait wait;
}

TEST(Wait, IsToldToTheInnermostRulesOfItsThread) {
  Rules outer;
  Rules inner;
  const WaitScope outside(&outer);
  {
    const WaitScope inside(&inner);
    EXPECT_TRUE(Wait::is_observed());
    const Wait wait;
    EXPECT_EQ(inner.begun, 1);
    EXPECT_EQ(inner.ended, 0);
    std::thread([] { EXPECT_FALSE(Wait::is_observed()); }).join();
  }
  EXPECT_EQ(inner.ended, 1);
  EXPECT_EQ(outer.begun, 0);
  inner.forbidden = WaitFor::bytes;
  outer.forbidden = WaitFor::turn;
  EXPECT_OK(Wait::check(WaitFor::bytes));
  EXPECT_TRUE(Wait::check(WaitFor::turn).error().is_would_wait());
}

TEST(Wait, EndsAtItsDeadlineOrWhenItIsCancelled) {
  std::atomic<bool> cancelled{false};
  WaitLimit limit(Clock::now() + minutes(10), &cancelled);
  const WaitScope scope(&limit);
  EXPECT_OK(Wait::check(WaitFor::bytes));
  {
    WaitLimit past(Clock::now() - milliseconds(1));
    const WaitScope inside(&past);
    EXPECT_ERRNO(Wait::check(WaitFor::bytes), ETIMEDOUT);
  }
  cancelled = true;
  EXPECT_ERRNO(Wait::check(WaitFor::turn), ECANCELED);
}

/// Waits for `done` by `rules` in a thread of its own.
struct Waiter {
  explicit Waiter(WaitRules* rules)
      : result(std::async(std::launch::async, [this, rules]() -> Result<> {
          const WaitScope scope(rules);
          PatientWait wait(WaitFor::turn);
          const MutexLock lock(mutex);
          while (!done) TRY(wait.on(changed, mutex));
          return {};
        })) {}
  void finish() {
    const MutexLock lock(mutex);
    done = true;
    changed.notify_all();
  }
  Mutex mutex;
  ConditionVariable changed;
  bool done GUARDED_BY(mutex) = false;
  std::future<Result<>> result;
};

TEST(PatientWait, IsToldOfWhenItLastsAndEndsWhenItsTimeHasCome) {
  Rules rules;
  Waiter waiter(&rules);
  while (rules.begun == 0) std::this_thread::yield();
  EXPECT_EQ(rules.ended, 0);
  waiter.finish();
  EXPECT_OK(waiter.result.get());
  EXPECT_EQ(rules.begun, 1);
  EXPECT_EQ(rules.ended, 1);
}

TEST(PatientWait, IsRefusedAtOnce) {
  Rules rules;
  rules.forbidden = WaitFor::turn;
  Waiter waiter(&rules);
  EXPECT_TRUE(waiter.result.get().error().is_would_wait());
  EXPECT_EQ(rules.begun, 0);
}

TEST(PatientWait, EndsByItselfAtADeadlineAndWhenItIsCancelled) {
  WaitLimit soon(Clock::now() + milliseconds(30));
  Waiter in_time(&soon);
  EXPECT_ERRNO(in_time.result.get(), ETIMEDOUT);
  WatchedWait rules;
  Waiter waiter(&rules);
  EXPECT_TRUE(rules.see_a_wait(waiter.result));
  rules.cancel();
  EXPECT_ERRNO(waiter.result.get(), ECANCELED);
}

TEST(TimedCall, GivesWhatTheWorkGives) {
  TimedCall<Result<int>> call;
  EXPECT_EQ(**call([] { return Result<int>(7); }, minutes(10)), 7);
  const auto failed = call([]() -> Result<int> { return fail(EIO, "disk: broken"); }, minutes(10));
  EXPECT_ERRNO(*failed, EIO);
}

TEST(TimedCall, GivesNothingInTimeAndRefusesUntilTheWorkIsOver) {
  std::promise<void> go_on;
  auto may_go_on = go_on.get_future().share();
  TimedCall<int> call;
  const auto slow = [may_go_on] {
    may_go_on.wait();
    return 1;
  };
  EXPECT_FALSE(call(slow, milliseconds(20)));
  EXPECT_FALSE(call([] { return 2; }, minutes(10)));
  EXPECT_FALSE(call.wait_until_idle(milliseconds(1)));
  go_on.set_value();
  EXPECT_TRUE(call.wait_until_idle(minutes(10)));
  EXPECT_EQ(call([] { return 3; }, minutes(10)), 3);
}

TEST(TimedCall, LetsTheWorkWaitNoLongerThanItsPatience) {
  TimedCall<Result<>> call;
  static_cast<void>(call(
      []() -> Result<> {
        Mutex mutex;
        ConditionVariable never;
        PatientWait wait(WaitFor::bytes);
        const MutexLock lock(mutex);
        for (;;) TRY(wait.on(never, mutex));
      },
      milliseconds(20)));
  EXPECT_TRUE(call.wait_until_idle(minutes(10)));
}

TEST(Grace, IsOverAfterItsTimeUnlessItIsExcused) {
  Grace none{milliseconds(0)};
  EXPECT_TRUE(none.is_over());
  Grace much{minutes(10)};
  EXPECT_FALSE(much.is_over());
  bool busy = true;
  Grace excused(milliseconds(5), [&busy] { return busy; });
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_FALSE(excused.is_over());
  busy = false;
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_TRUE(excused.is_over());
}

}  // namespace
}  // namespace penstock::test
