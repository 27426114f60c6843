// SPDX-License-Identifier: Apache-2.0
#include "base/crew.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace penstock {

namespace {

// More than any request was seen to use, several times, and too little for a huge page, of which the kernel would give
// a whole one for the first byte.
constexpr std::size_t kStackBytes = 1U << 20U;

void* wait_until_free(void* gate) {
  const MutexLock lock(*static_cast<Mutex*>(gate));
  return nullptr;
}

}  // namespace

Crew::Crew(unsigned most, std::function<void()> work, unsigned spare)
    : most_(most), spare_(std::min(spare, kSpareMost)), work_(std::move(work)) {
  const MutexLock lock(mutex_);
  threads_.reserve(most);
  ended_.reserve(most);
}

Crew::~Crew() {
  // Those that are left may still add others.
  const MutexLock lock(mutex_);
  while (!threads_.empty()) all_ended_.wait(mutex_);
  join_ended();
}

int Crew::add() noexcept {
  pthread_attr_t attributes{};
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  int error = EBUSY;
  {
    const MutexLock lock(mutex_);
    join_ended();
    if (threads_.size() < most_) error = start_beside_others(attributes);
  }
  pthread_attr_destroy(&attributes);
  return error;
}

int Crew::start(const pthread_attr_t& attributes) noexcept {
  pthread_t thread{};
  const int error = pthread_create(&thread, &attributes, run, this);
  if (error == 0) threads_.push_back(thread);  // there is room
  return error;
}

/// Threads that do nothing show whether there is room for the spare ones.
int Crew::start_beside_others(const pthread_attr_t& attributes) noexcept {
  std::array<pthread_t, kSpareMost> others{};
  unsigned started = 0;
  Mutex gate;
  int error = 0;
  {
    const MutexLock lock(gate);
    while (error == 0 && started < spare_) {
      error = pthread_create(&others[started], &attributes, wait_until_free, &gate);
      if (error == 0) ++started;
    }
    if (error == 0) error = start(attributes);
  }
  for (unsigned i = 0; i < started; ++i) pthread_join(others[i], nullptr);
  return error;
}

unsigned Crew::size() noexcept {
  const MutexLock lock(mutex_);
  return static_cast<unsigned>(threads_.size());
}

void Crew::interrupt(int signal) noexcept {
  const MutexLock lock(mutex_);
  for (const pthread_t thread : threads_) pthread_kill(thread, signal);
}

void* Crew::run(void* crew) {
  static_cast<Crew*>(crew)->work_();
  static_cast<Crew*>(crew)->end_this();
  return nullptr;
}

void Crew::end_this() noexcept {
  const MutexLock lock(mutex_);
  const pthread_t self = pthread_self();
  std::erase_if(threads_, [self](pthread_t thread) { return pthread_equal(thread, self) != 0; });
  ended_.push_back(self);  // there is room: each was joined before another took its place
  // Under the mutex: who waits may be gone afterwards.
  if (threads_.empty()) all_ended_.notify_all();
}

void Crew::join_ended() noexcept {
  for (const pthread_t thread : ended_) pthread_join(thread, nullptr);
  ended_.clear();
}

}  // namespace penstock
