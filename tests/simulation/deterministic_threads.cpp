// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/deterministic_threads.hpp"

#include "tests/support/random.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

namespace penstock::test {

namespace {

using Nanoseconds = std::int64_t;

constexpr Nanoseconds kSecond = 1'000'000'000;
constexpr Nanoseconds kNever = INT64_MAX;
constexpr Nanoseconds kPerTurn = 1000;
constexpr std::uint64_t kTurnsMax = 20'000'000;
constexpr unsigned kJumpPerMille = 2;

template <typename Function>
Function* next(const char* name) {
  auto* const found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function*>(found);
}

struct Task {
  unsigned number = 0;
  sem_t turn{};
  const void* waits_for = nullptr;  // a lock, a condition, a Task; null: can go on
  Nanoseconds wakes_at = kNever;
  bool timed_out = false;
  bool ended = false;
  pthread_t thread{};
  void* (*start)(void*) = nullptr;
  void* argument = nullptr;
};

thread_local Task* current = nullptr;

/// Every member is touched by the one thread whose turn it is.
class Scheduler {
 public:
  Scheduler(const Turns& turns, const std::function<void()>& describe)
      : random_(turns.seed), switch_percent_(turns.switch_percent), describe_(describe) {
    current = &add();
  }
  ~Scheduler() {
    for (const auto& task : tasks_) {
      if (!task->ended && task.get() != current) give_up("a thread outlives the run");
    }
    current = nullptr;
  }

  Task& add() {
    auto task = std::make_unique<Task>();
    task->number = static_cast<unsigned>(tasks_.size());
    sem_init(&task->turn, 0, 0);
    tasks_.push_back(std::move(task));
    return *tasks_.back();
  }
  Task* find(pthread_t thread) {
    for (const auto& task : tasks_) {
      if (task.get() != tasks_.front().get() && pthread_equal(task->thread, thread) != 0) return task.get();
    }
    return nullptr;
  }

  [[nodiscard]] Nanoseconds now() const { return now_; }

  /// Another thread may go on here.
  void turn() {
    now_ += kPerTurn;
    if (random_.below(1000) < kJumpPerMille) jump();
    if (random_.chance(switch_percent_)) hand_over();
  }
  /// Until woken, or `until`. False: time was up.
  bool wait(const void* what, Nanoseconds until) {
    current->waits_for = what;
    current->wakes_at = until;
    current->timed_out = false;
    hand_over();
    return !current->timed_out;
  }
  void wake_all(const void* what) {
    for (const auto& task : tasks_) {
      if (task->waits_for == what) wake(*task);
    }
  }
  void wake_one(const void* what) {
    std::vector<Task*> waiting;
    for (const auto& task : tasks_) {
      if (task->waits_for == what) waiting.push_back(task.get());
    }
    if (!waiting.empty()) wake(*waiting[random_.below(waiting.size())]);
  }
  void end() {
    current->ended = true;
    wake_all(current);
    Task& other = choose();
    current = nullptr;
    sem_post(&other.turn);
  }

  // Locks: how many readers, or -1 for a writer.
  bool try_lock(const void* lock, bool shared) {
    int& state = locks_[lock];
    if (state != 0 && !(shared && state > 0)) return false;
    state = shared ? state + 1 : -1;
    return true;
  }
  void lock(const void* lock, bool shared) {
    turn();
    while (!try_lock(lock, shared)) wait(lock, kNever);
  }
  void release(const void* lock) {
    const auto found = locks_.find(lock);
    if (found == locks_.end()) give_up("a lock is released that nobody has");
    found->second -= found->second > 0 ? 1 : -1;
    if (found->second == 0) {
      locks_.erase(found);
      wake_all(lock);
    }
  }
  void unlock(const void* lock) {
    release(lock);
    turn();
  }

 private:
  static void wake(Task& task) {
    task.waits_for = nullptr;
    task.wakes_at = kNever;
  }
  /// The first of those that wait for a time wakes.
  bool jump() {
    Task* first = nullptr;
    for (const auto& task : tasks_) {
      if (task->wakes_at != kNever && (first == nullptr || task->wakes_at < first->wakes_at)) first = task.get();
    }
    if (first == nullptr) return false;
    now_ = std::max(now_, first->wakes_at);
    return true;
  }
  Task& choose() {
    if (++turns_ > kTurnsMax) give_up("nothing ends");
    for (bool again = true; again; again = jump()) {
      std::vector<Task*> ready;
      for (const auto& task : tasks_) {
        if (task->wakes_at <= now_) {
          task->timed_out = true;
          wake(*task);
        }
        if (!task->ended && task->waits_for == nullptr) ready.push_back(task.get());
      }
      if (!ready.empty()) return *ready[random_.below(ready.size())];
    }
    give_up("all threads wait for each other");
  }
  void hand_over() {
    Task& self = *current;
    Task& other = choose();
    if (&other == &self) return;
    sem_post(&other.turn);
    while (sem_wait(&self.turn) != 0) continue;  // EINTR
  }
  [[noreturn]] void give_up(const char* why) {
    std::fprintf(stderr, "%s\n", why);
    for (const auto& task : tasks_) {
      if (!task->ended) std::fprintf(stderr, "  thread %u waits for %p\n", task->number, task->waits_for);
    }
    describe_();
    std::fflush(nullptr);
    std::abort();
  }

  Random random_;
  const unsigned switch_percent_;
  const std::function<void()>& describe_;
  std::vector<std::unique_ptr<Task>> tasks_;
  std::map<const void*, int> locks_;
  Nanoseconds now_ = 1000 * kSecond;
  std::uint64_t turns_ = 0;
};

Scheduler* scheduler = nullptr;

void* run_task(void* argument) {
  Task& task = *static_cast<Task*>(argument);
  while (sem_wait(&task.turn) != 0) continue;
  current = &task;
  void* const result = task.start(task.argument);
  scheduler->end();
  return result;
}

Nanoseconds to_nanoseconds(const timespec& time) {
  return time.tv_sec * kSecond + time.tv_nsec;
}

int wait_for_condition(pthread_cond_t* condition, pthread_mutex_t* mutex, Nanoseconds until) {
  // Released without a turn: nothing can come between that and the wait.
  scheduler->release(mutex);
  const bool woken = scheduler->wait(condition, until);
  scheduler->lock(mutex, false);
  return woken ? 0 : ETIMEDOUT;
}

int sleep_until(Nanoseconds until) {
  scheduler->wait(current, until);
  return 0;
}

}  // namespace

void run_deterministically(const Turns& turns, const std::function<void()>& work,
                           const std::function<void()>& describe) {
  Scheduler all(turns, describe);
  scheduler = &all;
  work();
}

}  // namespace penstock::test

// What stands in for the C library's, for threads of a run; all others get the real one.
// NOLINTBEGIN(readability-identifier-naming)
using penstock::test::current;
using penstock::test::kNever;
using penstock::test::next;
using penstock::test::scheduler;
using penstock::test::to_nanoseconds;

extern "C" {

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_mutex_t*)>("pthread_mutex_lock");
    return real(mutex);
  }
  scheduler->lock(mutex, false);
  return 0;
}

int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_mutex_t*)>("pthread_mutex_trylock");
    return real(mutex);
  }
  scheduler->turn();
  return scheduler->try_lock(mutex, false) ? 0 : EBUSY;
}

int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_mutex_t*)>("pthread_mutex_unlock");
    return real(mutex);
  }
  scheduler->unlock(mutex);
  return 0;
}

int pthread_rwlock_rdlock(pthread_rwlock_t* lock) noexcept {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
    return real(lock);
  }
  scheduler->lock(lock, true);
  return 0;
}

int pthread_rwlock_wrlock(pthread_rwlock_t* lock) noexcept {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
    return real(lock);
  }
  scheduler->lock(lock, false);
  return 0;
}

int pthread_rwlock_unlock(pthread_rwlock_t* lock) noexcept {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_rwlock_t*)>("pthread_rwlock_unlock");
    return real(lock);
  }
  scheduler->unlock(lock);
  return 0;
}

int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_cond_t*, pthread_mutex_t*)>("pthread_cond_wait");
    return real(condition, mutex);
  }
  return penstock::test::wait_for_condition(condition, mutex, kNever);
}

int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* until) {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_cond_t*, pthread_mutex_t*, const timespec*)>("pthread_cond_timedwait");
    return real(condition, mutex, until);
  }
  return penstock::test::wait_for_condition(condition, mutex, to_nanoseconds(*until));
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
  if (current == nullptr) {
    static auto* const real =
        next<int(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>("pthread_cond_clockwait");
    return real(condition, mutex, clock, until);
  }
  return penstock::test::wait_for_condition(condition, mutex, to_nanoseconds(*until));
}

int pthread_cond_signal(pthread_cond_t* condition) noexcept {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_cond_t*)>("pthread_cond_signal");
    return real(condition);
  }
  scheduler->wake_one(condition);
  scheduler->turn();
  return 0;
}

int pthread_cond_broadcast(pthread_cond_t* condition) noexcept {
  if (current == nullptr) {
    static auto* const real = next<int(pthread_cond_t*)>("pthread_cond_broadcast");
    return real(condition);
  }
  scheduler->wake_all(condition);
  scheduler->turn();
  return 0;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) noexcept {
  static auto* const real = next<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  if (current == nullptr) return real(thread, attributes, start, argument);
  auto& task = scheduler->add();
  task.start = start;
  task.argument = argument;
  const int failed = real(&task.thread, attributes, penstock::test::run_task, &task);
  *thread = task.thread;
  task.ended = failed != 0;
  scheduler->turn();
  return failed;
}

int pthread_join(pthread_t thread, void** result) {
  static auto* const real = next<int(pthread_t, void**)>("pthread_join");
  if (current != nullptr) {
    if (auto* const task = scheduler->find(thread); task != nullptr) {
      while (!task->ended) scheduler->wait(task, kNever);
      task->thread = {};
    }
  }
  return real(thread, result);
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if (current == nullptr) {
    static auto* const real = next<int(clockid_t, timespec*)>("clock_gettime");
    return real(clock, time);
  }
  time->tv_sec = scheduler->now() / penstock::test::kSecond;
  time->tv_nsec = scheduler->now() % penstock::test::kSecond;
  return 0;
}

int nanosleep(const timespec* time, timespec* left) {
  if (current == nullptr) {
    static auto* const real = next<int(const timespec*, timespec*)>("nanosleep");
    return real(time, left);
  }
  return penstock::test::sleep_until(scheduler->now() + to_nanoseconds(*time));
}

int clock_nanosleep(clockid_t clock, int flags, const timespec* time, timespec* left) {
  if (current == nullptr) {
    static auto* const real = next<int(clockid_t, int, const timespec*, timespec*)>("clock_nanosleep");
    return real(clock, flags, time, left);
  }
  const auto from = (flags & TIMER_ABSTIME) != 0 ? 0 : scheduler->now();
  return penstock::test::sleep_until(from + to_nanoseconds(*time));
}

int sched_yield() noexcept {
  if (current == nullptr) {
    static auto* const real = next<int()>("sched_yield");
    return real();
  }
  scheduler->turn();
  return 0;
}
}  // extern "C"
// NOLINTEND(readability-identifier-naming)
