// SPDX-License-Identifier: Apache-2.0
#include "image/sharded_cache.hpp"

#include "tests/support/expect.hpp"

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

namespace penstock::test {
namespace {

using std::chrono::milliseconds;

struct Number {
  int value = 0;
  [[nodiscard]] static std::uint64_t memory_bytes() { return sizeof(Number); }
};
using Cache = ShardedCache<Number>;

class RefusesToWait final : public WaitRules {
 public:
  [[nodiscard]] std::optional<Error> forbids(WaitFor /*what*/) const noexcept override { return Error::would_wait(); }
};

/// Asks in a thread of its own, by a limit that somebody may cancel.
class Asker {
 public:
  template <typename Make>
  Asker(Cache& cache, Make make)
      : result_(std::async(std::launch::async, [this, &cache, make] {
          WaitLimit limit(std::nullopt, &cancelled);
          const WaitScope scope(&limit);
          return cache.get({.position = 1}, make);
        })) {}
  Result<Cache::Pointer> get() { return result_.get(); }
  [[nodiscard]] bool waits() const { return result_.wait_for(milliseconds(50)) == std::future_status::timeout; }
  std::atomic<bool> cancelled{false};

 private:
  std::future<Result<Cache::Pointer>> result_;
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
  std::atomic<bool> begun{false};
  std::atomic<bool> go_on{false};
  Asker maker(cache, [&]() -> Result<Number> {
    begun = true;
    while (!go_on) std::this_thread::yield();
    return fail(EIO, "disk: broken");
  });
  while (!begun) std::this_thread::yield();
  Asker waiter(cache, must_not_be_made);
  EXPECT_TRUE(waiter.waits());
  go_on = true;
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
  maker.cancelled = true;
  EXPECT_ERRNO(maker.get(), ECANCELED);
  EXPECT_EQ(must(first.get())->value, 9);
  EXPECT_EQ(must(second.get())->value, 9);
}

TEST(ShardedCache, WhoWaitsMayBeCancelledAndHarmsNobody) {
  Cache cache(1 << 20, 4);
  std::atomic<bool> begun{false};
  std::atomic<bool> go_on{false};
  Asker maker(cache, [&]() -> Result<Number> {
    begun = true;
    while (!go_on) std::this_thread::yield();
    return Number{3};
  });
  while (!begun) std::this_thread::yield();
  Asker waiter(cache, must_not_be_made);
  EXPECT_TRUE(waiter.waits());
  waiter.cancelled = true;
  EXPECT_ERRNO(waiter.get(), ECANCELED);
  go_on = true;
  EXPECT_EQ(must(maker.get())->value, 3);
}

}  // namespace
}  // namespace penstock::test
