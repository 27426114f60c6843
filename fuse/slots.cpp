// SPDX-License-Identifier: Apache-2.0
#include "fuse/slots.hpp"

#include <signal.h>

#include <chrono>
#include <thread>
#include <utility>

namespace penstock::fuse {

namespace {

// So many requests that did not wait for the disk tell that the cache has what is asked for.
constexpr unsigned kPatience = 64;

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
        for (const pthread_t thread : threads_) pthread_kill(thread, kInterruption);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  auto* const rings = session_.rings();
  if (rings != nullptr) {
    rings->start({.system = &system_,
                  .hand_on = [this](Request& request) { return hand_on(request); },
                  .failed = [this](const Error& error) { fail(error); }});
  }
  executor_.run_on_all_slots([this](unsigned) { run_slot(); });
  done = true;
  end_all();
  if (rings != nullptr) rings->stop();
  interrupter.join();
  const MutexLock lock(mutex_);
  if (failure_) return Failure(*failure_);
  return {};
}

void Slots::run_slot() {
  std::multiset<pthread_t>::iterator place;
  {
    const MutexLock lock(mutex_);
    place = threads_.insert(pthread_self());
  }
  Watch watch(*this);
  BlockingObserver::of_this_thread() = &watch;
  auto ended = serve(watch);
  BlockingObserver::of_this_thread() = nullptr;
  {
    const MutexLock lock(mutex_);
    threads_.erase(place);
    if (!ended && !failure_) failure_ = std::move(ended).error();
  }
  // One slot that is gone is one too few: end the others too, whatever the reason.
  end_all();
}

Result<> Slots::serve(Watch& watch) {
  ReceiveBuffer buffer;
  ++active_;
  // While requests wait for the disk, whoever came to help stays: calling one for each would cost more than it gains.
  const auto is_needed = [this, &watch] {
    return active_.load(std::memory_order_relaxed) <= serving_ || watch.at_once++ < kPatience;
  };
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (!is_needed() && !wait_for_turn()) break;
    if (!TRY(session_.receive(buffer, stopping_, is_needed))) break;
  }
  return {};
}

bool Slots::wait_for_turn() {
  {
    const MutexLock lock(turn_mutex_);
    // Under the mutex, as call_one() looks for whom to call: with one too few at work nobody may park.
    if (active_.fetch_sub(1) <= serving_) {
      ++active_;
      return true;
    }
  }
  bool end = false;
  // Nobody minds when these wait.
  auto* const watch = std::exchange(BlockingObserver::of_this_thread(), nullptr);
  while (auto* const request = next_handed_on(end)) serve_request(system_, *request);
  BlockingObserver::of_this_thread() = watch;
  return !end;
}

Request* Slots::next_handed_on(bool& end) {
  const MutexLock lock(turn_mutex_);
  ++parked_;
  while (called_ == 0 && handed_on_ == nullptr && !stopping_) turn_.wait(turn_mutex_);
  --parked_;
  if (called_ != 0) {
    --called_;
    return nullptr;
  }
  if (auto* const request = handed_on_; request != nullptr) {
    handed_on_ = request->next_handed_on;
    return request;
  }
  ++active_;
  end = true;
  return nullptr;
}

bool Slots::hand_on(Request& request) {
  const MutexLock lock(turn_mutex_);
  if (stopping_) return false;
  request.next_handed_on = nullptr;
  (handed_on_ == nullptr ? handed_on_ : last_handed_on_->next_handed_on) = &request;
  last_handed_on_ = &request;
  turn_.notify_one();
  return true;
}

void Slots::fail(const Error& error) {
  {
    const MutexLock lock(mutex_);
    if (!failure_) failure_ = error;
  }
  end_all();
}

Slots::Watch::Watch(Slots& of) : slots(of), at_once(kPatience) {}

void Slots::Watch::begins_to_block() noexcept {
  at_once = 0;
  if (slots.active_.fetch_sub(1) <= slots.serving_) slots.call_one();
}

void Slots::Watch::goes_on() noexcept {
  ++slots.active_;
}

void Slots::call_one() noexcept {
  const MutexLock lock(turn_mutex_);
  if (active_ >= serving_ || parked_ == called_) return;
  ++called_;
  ++active_;
  turn_.notify_one();
}

void Slots::end_all() {
  {
    const MutexLock lock(turn_mutex_);
    stopping_ = true;
    turn_.notify_all();
  }
  stopping_.notify_all();
}

void Slots::stop() {
  stopped_ = true;
  end_all();
}

}  // namespace penstock::fuse
