// SPDX-License-Identifier: Apache-2.0
#include "base/thread_room.hpp"

#include "base/mutex.hpp"
#include "base/text.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <cerrno>
#include <vector>

namespace penstock {

namespace {

constexpr const char* kAdvice = "; raise the limit on memory (ulimit -v) or on processes (ulimit -u)";
constexpr std::size_t kStackBytes = 1U << 20U;  // a Crew's
// For tables, unpacked clusters and requests; none of it is touched here.
constexpr std::size_t kWorkBytes = 64U << 20U;

void* wait_for_the_others(void* gate) {
  const MutexLock lock(*static_cast<Mutex*>(gate));
  return nullptr;
}

/// How many of `count` threads could be started, all at the same time.
std::size_t start_threads(std::size_t count, int& error) {
  pthread_attr_t attributes{};
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  std::vector<pthread_t> threads;
  threads.reserve(count);
  Mutex gate;
  {
    const MutexLock lock(gate);
    while (error == 0 && threads.size() < count) {
      pthread_t thread{};
      error = pthread_create(&thread, &attributes, wait_for_the_others, &gate);
      if (error == 0) threads.push_back(thread);
    }
  }
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  return threads.size();
}

}  // namespace

Failure no_thread(int number) {
  return system_failure(concat("cannot start a thread", kAdvice), number);
}

Result<> check_memory_room() {
  void* const work =
      mmap(nullptr, kWorkBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (work == MAP_FAILED) return system_failure(concat("no memory to serve with", kAdvice));
  munmap(work, kWorkBytes);
  return {};
}

Result<> check_thread_room(unsigned count) {
  int error = 0;
  const auto started = start_threads(count, error);
  if (error == 0) return {};
  return system_failure(concat("cannot start ", count, " threads, only ", started, kAdvice), error);
}

}  // namespace penstock
