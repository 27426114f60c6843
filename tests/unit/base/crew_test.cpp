// SPDX-License-Identifier: Apache-2.0
#include "base/crew.hpp"

#include "tests/support/expect.hpp"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <fstream>
#include <thread>

namespace penstock::test {
namespace {

TEST(Crew, AThreadIsMadeWhenItIsAskedForAndNotBefore) {
  std::atomic<unsigned> running{0};
  std::barrier all(4);
  Crew crew(3, [&] {
    ++running;
    all.arrive_and_wait();
  });
  EXPECT_EQ(crew.size(), 0U);
  for (unsigned made = 1; made <= 3; ++made) {
    ASSERT_EQ(crew.add(), 0);
    EXPECT_EQ(crew.size(), made);
    while (running < made) std::this_thread::yield();
    EXPECT_EQ(running, made);
  }
  EXPECT_EQ(crew.add(), EBUSY);
  EXPECT_EQ(running, 3U);
  all.arrive_and_wait();
}

TEST(Crew, EndsWhenAllHaveEndedAlsoThoseThatOthersAdded) {
  std::atomic<unsigned> begun{0};
  std::atomic<unsigned> ended{0};
  {
    Crew* self = nullptr;
    Crew crew(20, [&] {
      if (++begun < 20) {
        EXPECT_EQ(self->add(), 0);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++ended;
    });
    self = &crew;
    ASSERT_EQ(crew.add(), 0);
  }
  EXPECT_EQ(ended, 20U);
}

TEST(Crew, AnotherTakesThePlaceOfOneThatHasEnded) {
  std::atomic<unsigned> ended{0};
  Crew crew(2, [&] { ++ended; });
  for (unsigned made = 0; made < 100; ++made) {
    while (crew.size() == 2) std::this_thread::yield();
    ASSERT_EQ(crew.add(), 0);
  }
  while (crew.size() != 0) std::this_thread::yield();
  EXPECT_EQ(ended, 100U);
}

TEST(Crew, AnInterruptionReachesAllThatRunAndHarmsNoneThatHaveEnded) {
  struct sigaction action{};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  std::atomic<bool> first{true};
  std::atomic<unsigned> interrupted{0};
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  {
    Crew crew(3, [&] {
      if (first.exchange(false)) return;
      char byte = 0;
      if (read(ends[0], &byte, 1) < 0 && errno == EINTR) ++interrupted;
    });
    for (int i = 0; i < 3; ++i) ASSERT_EQ(crew.add(), 0);
    while (interrupted < 2) {
      crew.interrupt(SIGUSR1);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  EXPECT_EQ(interrupted, 2U);
  close(ends[0]);
  close(ends[1]);
}

rlim_t address_space() {
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  file >> pages;
  return pages * static_cast<rlim_t>(getpagesize());
}

/// In a process of its own, which may take so much more address space than it has.
int threads_within(rlim_t extra, unsigned spare = 0) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit{address_space() + extra, RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &limit);
    std::atomic<bool> end{false};
    int made = 0;
    {
      Crew crew(
          100,
          [&] {
            while (!end) std::this_thread::yield();
          },
          spare);
      while (crew.add() == 0) ++made;
      end = true;
    }
    _exit(made);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Crew, WhatTheSystemDoesNotGiveIsAnAnswerAndNotTheEnd) {
  if (address_space() > 1ULL << 40U) GTEST_SKIP() << "a sanitizer takes more than any limit";
  const int few = threads_within(4U << 20U);
  EXPECT_GT(few, 0);
  // The C library keeps up to 40 MiB of stacks of threads that have ended.
  EXPECT_LT(few, 50);
  EXPECT_EQ(threads_within(4U << 20U, 1), few - 1);
  EXPECT_EQ(threads_within(4U << 20U, 2), few - 2);
  EXPECT_EQ(threads_within(400U << 20U, 2), 100);
}

}  // namespace
}  // namespace penstock::test
