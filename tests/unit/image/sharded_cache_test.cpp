// SPDX-License-Identifier: Apache-2.0
#include "image/sharded_cache.hpp"

#include "tests/support/expect.hpp"
#include "tests/support/watched_wait.hpp"

#include <atomic>
#include <future>
#include <thread>

namespace penstock::test {
namespace {

struct Number {
  int value = 0;
  [[nodiscard]] static std::uint64_t memory_bytes() { return sizeof(Number); }
};
using Cache = ShardedCache<Number>;

class RefusesToWait final : public WaitRules {
 public:
  [[nodiscard]] std::optional<Error> forbids(WaitFor /*what*/) const noexcept override { return Error::would_wait(); }
};

/// Asks in a thread of its own, by rules that somebody may cancel.
class Asker {
 public:
  template <typename Make>
  Asker(Cache& cache, Make make)
      : result_(std::async(std::launch::async, [this, &cache, make] {
          const WaitScope scope(&rules_);
          return cache.get({.position = 1}, make);
        })) {}
  Result<Cache::Pointer> get() { return result_.get(); }
  [[nodiscard]] bool waits() const { return rules_.see_a_wait(result_); }
  void cancel() { rules_.cancel(); }

 private:
  WatchedWait rules_;
  std::future<Result<Cache::Pointer>> result_;
};

/// What takes until the test lets it go on.
class SlowMake {
 public:
  void wait_until_begun() const {
    while (!begun_) std::this_thread::yield();
  }
  void let_go_on() { goes_on_ = true; }
  template <typename Outcome>
  [[nodiscard]] auto giving(Outcome outcome) {
    return [this, outcome]() -> Result<Number> {
      begun_ = true;
      while (!goes_on_) std::this_thread::yield();
      return outcome();
    };
  }

 private:
  std::atomic<bool> begun_{false};
  std::atomic<bool> goes_on_{false};
};

Result<Number> must_not_be_made() {
  return fail(EIO, "made twice");
}

TEST(ShardedCache, WhoRefusesToWaitGetsWhatIsThereAndMakesNothing) {
  Cache cache(1 << 20, 4);
  RefusesToWait rules;
  const WaitScope scope(&rules);
  EXPECT_TRUE(cache.get({.position = 1}, must_not_be_made).error().is_would_wait());
  {
    const WaitScope free(nullptr);
    ASSERT_OK(cache.get({.position = 1}, [] { return Result<Number>(Number{7}); }));
  }
  EXPECT_EQ(must(cache.get({.position = 1}, must_not_be_made))->value, 7);
}

TEST(ShardedCache, AFailureGoesToAllThatWaitAndIsNotKept) {
  Cache cache(1 << 20, 4);
  SlowMake slow;
  Asker maker(cache, slow.giving([]() -> Result<Number> { return fail(EIO, "disk: broken"); }));
  slow.wait_until_begun();
  Asker waiter(cache, must_not_be_made);
  EXPECT_TRUE(waiter.waits());
  slow.let_go_on();
  EXPECT_ERRNO(maker.get(), EIO);
  EXPECT_EQ(waiter.get().error().message(), "disk: broken");
  EXPECT_EQ(must(cache.get({.position = 1}, [] { return Result<Number>(Number{8}); }))->value, 8);
}

TEST(ShardedCache, WhenTheMakerMayNotWaitAnyLongerTheNextMakesIt) {
  Cache cache(1 << 20, 4);
  std::atomic<bool> begun{false};
  Asker maker(cache, [&]() -> Result<Number> {
    begun = true;
    for (;;) TRY(Wait::check(WaitFor::bytes));
  });
  while (!begun) std::this_thread::yield();
  Asker first(cache, [] { return Result<Number>(Number{9}); });
  Asker second(cache, [] { return Result<Number>(Number{9}); });
  EXPECT_TRUE(first.waits());
  EXPECT_TRUE(second.waits());
  maker.cancel();
  EXPECT_ERRNO(maker.get(), ECANCELED);
  EXPECT_EQ(must(first.get())->value, 9);
  EXPECT_EQ(must(second.get())->value, 9);
}

TEST(ShardedCache, WhoWaitsMayBeCancelledAndHarmsNobody) {
  Cache cache(1 << 20, 4);
  SlowMake slow;
  Asker maker(cache, slow.giving([] { return Result<Number>(Number{3}); }));
  slow.wait_until_begun();
  Asker waiter(cache, must_not_be_made);
  EXPECT_TRUE(waiter.waits());
  waiter.cancel();
  EXPECT_ERRNO(waiter.get(), ECANCELED);
  slow.let_go_on();
  EXPECT_EQ(must(maker.get())->value, 3);
}

}  // namespace
}  // namespace penstock::test
