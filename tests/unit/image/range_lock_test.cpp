// SPDX-License-Identifier: Apache-2.0
#include "image/range_lock.hpp"

#include <penstock/wait.hpp>

#include "tests/support/random.hpp"
#include "tests/support/watched_wait.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <vector>

namespace penstock {
namespace {

using Mode = RangeLock::Mode;
using std::chrono::milliseconds;

constexpr std::uint64_t kGiB = 1ULL << 30U;

/// Takes a hold in a thread of its own and keeps it until let go.
class Holder {
 public:
  Holder(RangeLock& lock, GuestRange range, Mode mode)
      : thread_([this, &lock, range, mode] {
          thread_id_ = gettid();
          const RangeLock::Hold hold(lock, range, mode);
          granted_.set_value();
          let_go_.get_future().wait();
        }) {}
  ~Holder() {
    let_go();
    thread_.join();
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  [[nodiscard]] bool granted_within(milliseconds time) const {
    return future_.wait_for(time) == std::future_status::ready;
  }
  /// It stands in line: the kernel says that its thread sleeps, and it has nothing to sleep for but the lock. Asked,
  /// not guessed from the time, since a busy machine may begin with a thread at any time.
  [[nodiscard]] bool waits() const {
    while (!granted_within(milliseconds(1))) {
      if (thread_id_ != 0 && sleeps(thread_id_) && !granted_within(milliseconds(0))) return true;
    }
    return false;
  }
  void let_go() {
    if (!std::exchange(gone_, true)) let_go_.set_value();
  }

 private:
  static bool sleeps(pid_t thread) {
    std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
    std::string line;
    std::getline(file, line);
    const auto name_end = line.rfind(") ");
    return name_end != std::string::npos && line.substr(name_end + 2, 1) == "S";
  }

  std::atomic<pid_t> thread_id_{0};
  std::promise<void> granted_;
  std::shared_future<void> future_ = granted_.get_future().share();
  std::promise<void> let_go_;
  bool gone_ = false;
  std::thread thread_;
};

constexpr milliseconds kSoon{60'000};

TEST(RangeLock, SharedHoldsOverlap) {
  RangeLock lock(65536);
  const Holder first(lock, {{0}, 4096}, Mode::shared);
  const Holder second(lock, {{0}, 4096}, Mode::shared);
  EXPECT_TRUE(first.granted_within(kSoon));
  EXPECT_TRUE(second.granted_within(kSoon));
}

TEST(RangeLock, ExclusiveWaitsForOverlappingShared) {
  RangeLock lock(65536);
  Holder reader(lock, {{0}, 4096}, Mode::shared);
  ASSERT_TRUE(reader.granted_within(kSoon));
  const Holder writer(lock, {{60000}, 10}, Mode::exclusive);  // the same cluster, other bytes
  EXPECT_TRUE(writer.waits());
  reader.let_go();
  EXPECT_TRUE(writer.granted_within(kSoon));
}

TEST(RangeLock, ExclusiveHoldsOfNeighbouringClustersDoNotWait) {
  RangeLock lock(512);
  const Holder first(lock, {{0}, 512}, Mode::exclusive);
  ASSERT_TRUE(first.granted_within(kSoon));
  const Holder second(lock, {{512}, 512}, Mode::exclusive);
  EXPECT_TRUE(second.granted_within(kSoon));
}

TEST(RangeLock, RangesOfOneStripeThatDoNotOverlapDoNotWait) {
  RangeLock lock(65536);
  const Holder first(lock, {{0}, 4096}, Mode::exclusive);
  ASSERT_TRUE(first.granted_within(kSoon));
  const Holder second(lock, {{RangeLock::kStripes * (256ULL << 10U)}, 4096}, Mode::exclusive);
  EXPECT_TRUE(second.granted_within(kSoon));
}

TEST(RangeLock, ReadersBehindAWaitingWriterWait) {
  RangeLock lock(4096);
  Holder reader(lock, {{0}, 4096}, Mode::shared);
  ASSERT_TRUE(reader.granted_within(kSoon));
  Holder writer(lock, {{0}, 4096}, Mode::exclusive);
  EXPECT_TRUE(writer.waits());
  const Holder late_reader(lock, {{0}, 4096}, Mode::shared);
  EXPECT_TRUE(late_reader.waits());
  reader.let_go();
  EXPECT_TRUE(writer.granted_within(kSoon));
  EXPECT_TRUE(late_reader.waits());
  writer.let_go();
  EXPECT_TRUE(late_reader.granted_within(kSoon));
}

TEST(RangeLock, AHoldOfManyGiBExcludesEachClusterInIt) {
  RangeLock lock(512);
  Holder big(lock, {{kGiB}, 64 * kGiB}, Mode::exclusive);
  ASSERT_TRUE(big.granted_within(kSoon));
  const Holder outside(lock, {{kGiB - 512}, 512}, Mode::exclusive);
  EXPECT_TRUE(outside.granted_within(kSoon));
  const Holder inside(lock, {{40 * kGiB + 1}, 1}, Mode::shared);
  EXPECT_TRUE(inside.waits());
  big.let_go();
  EXPECT_TRUE(inside.granted_within(kSoon));
}

TEST(RangeLock, EverythingExcludesTheFarEnd) {
  RangeLock lock(2U << 20U);
  Holder all(lock, RangeLock::everything(), Mode::exclusive);
  ASSERT_TRUE(all.granted_within(kSoon));
  const Holder far(lock, {{(1ULL << 62U) + 5}, 1}, Mode::shared);
  EXPECT_TRUE(far.waits());
  all.let_go();
  EXPECT_TRUE(far.granted_within(kSoon));
}

TEST(RangeLock, AnEmptyRangeHoldsNothing) {
  RangeLock lock(4096);
  const Holder writer(lock, {{0}, 4096}, Mode::exclusive);
  ASSERT_TRUE(writer.granted_within(kSoon));
  const Holder nothing(lock, {{100}, 0}, Mode::exclusive);
  EXPECT_TRUE(nothing.granted_within(kSoon));
}

class RefusesToWait final : public WaitRules {
 public:
  [[nodiscard]] std::optional<Error> forbids(WaitFor /*what*/) const noexcept override { return Error::would_wait(); }
};

TEST(RangeLock, WhoRefusesToWaitGetsWhatIsFreeAndElseLeavesTheLine) {
  RangeLock lock(4096);
  Holder writer(lock, {{0}, 3 * 4096}, Mode::exclusive);
  ASSERT_TRUE(writer.granted_within(kSoon));
  RefusesToWait rules;
  {
    const WaitScope scope(&rules);
    const RangeLock::Hold free(lock, {{3 * 4096}, 4096}, Mode::exclusive);
    EXPECT_TRUE(free.taken());
  }
  {
    const WaitScope scope(&rules);
    const RangeLock::Hold refused(lock, {{2 * 4096}, 1 << 30U}, Mode::exclusive);
    ASSERT_FALSE(refused.taken());
    EXPECT_TRUE(refused.taken().error().is_would_wait());
  }
  // Nobody waits for what was not granted.
  const Holder behind(lock, {{100 * 4096}, 4096}, Mode::exclusive);
  EXPECT_TRUE(behind.granted_within(kSoon));
}

TEST(RangeLock, ACancelledWaitLetsThoseBehindItThrough) {
  RangeLock lock(4096);
  Holder reader(lock, {{0}, 4096}, Mode::shared);
  ASSERT_TRUE(reader.granted_within(kSoon));
  test::WatchedWait rules;
  auto writer = std::async(std::launch::async, [&lock, &rules] {
    const WaitScope scope(&rules);
    const RangeLock::Hold hold(lock, {{0}, 4096}, Mode::exclusive);
    return hold.taken();
  });
  EXPECT_TRUE(rules.see_a_wait(writer));
  const Holder behind(lock, {{0}, 4096}, Mode::shared);
  EXPECT_TRUE(behind.waits());
  rules.cancel();
  const auto taken = writer.get();
  ASSERT_FALSE(taken);
  EXPECT_TRUE(taken.error().is(ECANCELED));
  EXPECT_TRUE(behind.granted_within(kSoon));
}

TEST(RangeLock, RandomHoldsNeitherOverlapNorDeadlock) {
  test::Random random("RangeLock.RandomHoldsNeitherOverlapNorDeadlock");
  constexpr std::uint64_t kCluster = 64U << 10U;
  constexpr std::uint64_t kClusters = 1200;  // more than the stripes cover, so that ranges wrap around
  RangeLock lock(kCluster);
  std::vector<std::atomic<int>> users(kClusters);  // readers, or -1
  std::atomic<bool> broken{false};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, mine = random.fork()]() mutable {
      for (int turn = 0; turn < 2000; ++turn) {
        const auto first = mine.below(kClusters);
        const auto count = mine.between(1, std::min<std::uint64_t>(kClusters - first, mine.chance(10) ? kClusters : 6));
        const bool exclusive = mine.chance(50);
        // Some give up while they wait.
        WaitLimit limit(WaitLimit::Clock::now() + std::chrono::microseconds(mine.below(1000)));
        const WaitScope scope(mine.chance(20) ? &limit : nullptr);
        const RangeLock::Hold hold(lock, {{first * kCluster}, count * kCluster},
                                   exclusive ? Mode::exclusive : Mode::shared);
        if (!hold.taken()) continue;
        for (auto i = first; i < first + count; ++i) {
          const auto before = exclusive ? users[i].fetch_sub(1) : users[i].fetch_add(1);
          if (exclusive ? before != 0 : before < 0) broken = true;
        }
        for (auto i = first; i < first + count; ++i) exclusive ? ++users[i] : --users[i];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_FALSE(broken);
}

}  // namespace
}  // namespace penstock
