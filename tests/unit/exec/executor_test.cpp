// SPDX-License-Identifier: Apache-2.0
#include "tests/support/expect.hpp"

#include <penstock/executor.hpp>

#include <atomic>
#include <barrier>
#include <mutex>
#include <set>
#include <thread>

namespace penstock::test {
namespace {

TEST(Executor, AllSlotsRunAtTheSameTimeHoweverFewTheCores) {
  for (const unsigned slots : {1U, 2U, 7U, 32U}) {
    const auto executor = make_request_executor(slots);
    ASSERT_EQ(executor->slots(), slots);
    for (int round = 0; round < 5; ++round) {
      // Nobody passes before all have come; a slot that waited for another to end would hang here.
      std::barrier all(slots);
      std::mutex mutex;
      std::set<unsigned> seen;
      std::set<std::thread::id> threads;
      executor->run_on_all_slots([&](unsigned slot) {
        all.arrive_and_wait();
        const std::lock_guard lock(mutex);
        seen.insert(slot);
        threads.insert(std::this_thread::get_id());
      });
      EXPECT_EQ(seen.size(), slots);
      EXPECT_EQ(*seen.rbegin(), slots - 1);
      EXPECT_EQ(threads.size(), slots);
    }
  }
}

TEST(Executor, TwoDoNotStarveEachOther) {
  const auto one = make_request_executor(8);
  const auto two = make_request_executor(8);
  std::barrier all(16);
  std::jthread other([&] { two->run_on_all_slots([&](unsigned) { all.arrive_and_wait(); }); });
  one->run_on_all_slots([&](unsigned) { all.arrive_and_wait(); });
}

TEST(Executor, ReturnsWhenAllHaveReturned) {
  const auto executor = make_request_executor(6);
  std::atomic<unsigned> returned{0};
  executor->run_on_all_slots([&](unsigned slot) {
    std::this_thread::sleep_for(std::chrono::milliseconds(slot * 10));
    ++returned;
  });
  EXPECT_EQ(returned, 6U);
}

TEST(Executor, WhoIsDoneEarlyIsNotReplaced) {
  const auto executor = make_request_executor(8);
  for (int round = 0; round < 200; ++round) {
    std::atomic<unsigned> called{0};
    std::atomic<unsigned> highest{0};
    executor->run_on_all_slots([&](unsigned slot) {
      ++called;
      for (unsigned seen = highest; seen < slot && !highest.compare_exchange_weak(seen, slot);) continue;
    });
    ASSERT_EQ(called, 8U);
    ASSERT_EQ(highest, 7U);
  }
}

TEST(Executor, DefaultHasMoreSlotsThanOneAndABound) {
  const auto executor = make_request_executor(0);
  EXPECT_GE(executor->slots(), 4U);
  EXPECT_LE(executor->slots(), 32U);
}

}  // namespace
}  // namespace penstock::test
