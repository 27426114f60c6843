// SPDX-License-Identifier: Apache-2.0
#include "fuse/slots.hpp"

#include <signal.h>

#include <chrono>
#include <thread>

namespace penstock::fuse {

namespace {

/// Interrupts a read(2) of /dev/fuse; nothing else wakes it while the file system is mounted.
constexpr int kInterruption = SIGUSR1;

void install_interruption() {
  struct sigaction action{};
  action.sa_handler = [](int) {};  // without SA_RESTART: the read ends with EINTR
  sigaction(kInterruption, &action, nullptr);
}

}  // namespace

Result<> Slots::run() {
  install_interruption();
  std::atomic<bool> done{false};
  // A signal may arrive just before the read that it is to interrupt, so it is sent until all loops have ended.
  std::jthread interrupter([this, &done] {
    stopping_.wait(false);
    while (!done) {
      {
        const MutexLock lock(mutex_);
        for (const pthread_t thread : waiting_) pthread_kill(thread, kInterruption);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  executor_.run_on_all_slots([this](unsigned) { run_slot(); });
  done = true;
  stopping_ = true;
  stopping_.notify_all();
  interrupter.join();
  const MutexLock lock(mutex_);
  if (failure_) return Failure(*failure_);
  return {};
}

void Slots::run_slot() {
  std::multiset<pthread_t>::iterator place;
  {
    const MutexLock lock(mutex_);
    place = waiting_.insert(pthread_self());
  }
  auto ended = session_.receive(stopping_);
  {
    const MutexLock lock(mutex_);
    waiting_.erase(place);
    if (!ended && !failure_) failure_ = std::move(ended).error();
  }
  // One slot that is gone is one too few: end the others too, whatever the reason.
  stopping_ = true;
  stopping_.notify_all();
}

void Slots::stop() {
  stopped_ = true;
  stopping_ = true;
  stopping_.notify_all();
}

}  // namespace penstock::fuse
