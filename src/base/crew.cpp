// SPDX-License-Identifier: Apache-2.0
#include "base/crew.hpp"

#include <signal.h>

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

Crew::Crew(unsigned most, std::function<void()> work, bool spare) : most_(most), spare_(spare), work_(std::move(work)) {
  const MutexLock lock(mutex_);
  threads_.reserve(most);
}

Crew::~Crew() {
  // Those that are left may still add others.
  for (std::size_t joined = 0;; ++joined) {
    pthread_t thread{};
    {
      const MutexLock lock(mutex_);
      if (joined == threads_.size()) return;
      thread = threads_[joined];
    }
    pthread_join(thread, nullptr);
  }
}

int Crew::add() noexcept {
  pthread_attr_t attributes{};
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  int error = EBUSY;
  {
    const MutexLock lock(mutex_);
    if (threads_.size() < most_) error = spare_ ? start_beside_another(attributes) : start(attributes);
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

int Crew::start_beside_another(const pthread_attr_t& attributes) noexcept {
  pthread_t another{};
  Mutex gate;
  int error = 0;
  {
    const MutexLock lock(gate);
    error = pthread_create(&another, &attributes, wait_until_free, &gate);
    if (error != 0) return error;
    error = start(attributes);
  }
  pthread_join(another, nullptr);
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
  return nullptr;
}

}  // namespace penstock
