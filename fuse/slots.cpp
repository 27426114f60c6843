// SPDX-License-Identifier: Apache-2.0
#include "fuse/slots.hpp"

#include "base/log.hpp"
#include "base/text.hpp"
#include "base/thread_room.hpp"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <new>
#include <utility>

namespace penstock::fuse {

namespace {

// So many requests that did not wait for the disk tell that the cache has what is asked for.
constexpr unsigned kPatience = 64;

/// Interrupts a read(2) of /dev/fuse; nothing else wakes it while the file system is mounted.
constexpr int kInterruption = SIGUSR1;
constexpr std::chrono::milliseconds kBetweenInterruptions{5};

constexpr std::chrono::milliseconds kBeforeAskingAgain{100};

void install_interruption() {
  struct sigaction action{};
  action.sa_handler = [](int) {};  // without SA_RESTART: the read ends with EINTR
  sigaction(kInterruption, &action, nullptr);
}

}  // namespace

Slots::Slots(Session& session, FileSystem& system, unsigned serving, unsigned blocked)
    : session_(session),
      system_(system),
      serving_(static_cast<int>(serving)),
      // An ordinary user's mount is ended by one more process, which counts like a thread.
      crew_(serving + blocked, [this] { run_slot(); }, geteuid() != 0) {}

Result<> Slots::run() {
  install_interruption();
  auto* const rings = session_.rings();
  auto begun = or_no_thread([this, rings] {
    if (rings == nullptr) return;
    rings->start({.system = &system_,
                  .hand_on = [this](Request& request) { return hand_on(request); },
                  .failed = [this](const Error& error) { fail(error); }});
  });
  if (begun) begun = begin();
  if (begun) wait_for_the_end();
  if (rings != nullptr) rings->stop();
  TRY(begun);
  const MutexLock lock(turn_mutex_);
  if (failure_) return Failure(*failure_);
  return {};
}

Result<> Slots::begin() {
  const MutexLock lock(turn_mutex_);
  if (const int number = call_one(); number != 0) return no_thread(number);
  // At once, so that the first request need not wait until the next is made.
  static_cast<void>(call_one());
  return {};
}

void Slots::wait_for_the_end() {
  const MutexLock lock(turn_mutex_);
  while (!stopping_) {
    if (!short_of_threads_) {
      main_turn_.wait(turn_mutex_);
      continue;
    }
    main_turn_.wait_for(turn_mutex_, kBeforeAskingAgain);
    short_of_threads_ = false;
    if (lacks_receivers()) static_cast<void>(call_one());
    if (called_ + queued_ > parked_) static_cast<void>(find_parked());
  }
  // A signal may arrive just before the read that it is to interrupt, so it is sent until all loops have ended.
  while (running_ != 0) {
    crew_.interrupt(kInterruption);
    main_turn_.wait_for(turn_mutex_, kBetweenInterruptions);
  }
}

void Slots::run_slot() {
  Watch watch(*this);
  auto ended = serve(watch);
  // One slot that is gone is one too few: end the others too, whatever the reason.
  const MutexLock lock(turn_mutex_);
  if (!ended && !failure_) failure_ = std::move(ended).error();
  end_all();
  --running_;
}

Result<> Slots::serve(Watch& watch) {
  ReceiveBuffer buffer;
  // Made because it is needed, like one that was parked.
  for (bool goes_on = stand_by(watch); goes_on; goes_on = wait_for_turn(watch)) {
    BlockingObserver::of_this_thread() = &watch;
    const auto received = session_.receive(buffer, stopping_, watch);
    // Nobody minds when it waits for another turn, and for what it serves meanwhile.
    BlockingObserver::of_this_thread() = nullptr;
    if (!TRY(received)) break;
  }
  return {};
}

bool Slots::wait_for_turn(Watch& watch) {
  watch.leaves();
  {
    const MutexLock lock(turn_mutex_);
    // Under the mutex, as call_one() looks for whom to call: with one too few at work nobody may park.
    if (active_.fetch_sub(1) <= serving_ && !stopping_) {
      ++active_;
      return true;
    }
    ++parked_;
  }
  return stand_by(watch);
}

bool Slots::stand_by(Watch& watch) {
  bool end = false;
  while (auto* const request = next_handed_on(end)) {
    serve_request(system_, *request);
    const MutexLock lock(turn_mutex_);
    --helping_;
    ++parked_;
  }
  watch.ready = !end;
  return !end;
}

Request* Slots::next_handed_on(bool& end) {
  const MutexLock lock(turn_mutex_);
  while (called_ == 0 && handed_on_ == nullptr && !stopping_) turn_.wait(turn_mutex_);
  --parked_;
  if (called_ != 0) {
    --called_;
    return nullptr;
  }
  if (auto* const request = handed_on_; request != nullptr) {
    handed_on_ = request->next_handed_on;
    --queued_;
    ++helping_;
    return request;
  }
  end = true;
  return nullptr;
}

bool Slots::hand_on(Request& request) {
  const MutexLock lock(turn_mutex_);
  if (stopping_) return false;
  // Without one that is free, one that helps already comes back for it.
  if (find_parked() != 0 && helping_ == 0) return false;
  request.next_handed_on = nullptr;
  (handed_on_ == nullptr ? handed_on_ : last_handed_on_->next_handed_on) = &request;
  last_handed_on_ = &request;
  ++queued_;
  turn_.notify_one();
  return true;
}

void Slots::fail(const Error& error) {
  const MutexLock lock(turn_mutex_);
  if (!failure_) failure_ = error;
  end_all();
}

Slots::Watch::Watch(Slots& of) : slots(of), at_once(kPatience) {}

void Slots::Watch::begins_to_block() noexcept {
  at_once = 0;
  if (slots.active_.fetch_sub(1) <= slots.serving_) slots.see_to_receivers();
}

void Slots::Watch::goes_on() noexcept {
  ++slots.active_;
}

bool Slots::Watch::receives_on() noexcept {
  // While requests wait for the disk, whoever came to help stays: calling one for each would cost more than it gains.
  if (slots.active_.load(std::memory_order_relaxed) > slots.serving_ && at_once++ >= kPatience) return false;
  if (!ready && !slots.all_serving_made_.load(std::memory_order_relaxed)) {
    ready = true;
    ++slots.ready_;
  }
  return true;
}

void Slots::Watch::received() noexcept {
  const bool was_ready = std::exchange(ready, false);
  if (slots.all_serving_made_.load(std::memory_order_relaxed) || !was_ready) return;
  if (slots.ready_.fetch_sub(1) == 1) slots.see_to_receivers();
}

void Slots::Watch::leaves() noexcept {
  if (std::exchange(ready, false)) --slots.ready_;
}

void Slots::see_to_receivers() noexcept {
  if (!lacks_receivers()) return;
  const MutexLock lock(turn_mutex_);
  if (lacks_receivers()) static_cast<void>(call_one());
}

bool Slots::lacks_receivers() const noexcept {
  // With all made, whoever waits gets one in its place at once; before, the last one that waits for a request calls the
  // next when it has got one.
  return active_ < serving_ && (all_serving_made_ || ready_ == 0);
}

int Slots::call_one() noexcept {
  if (stopping_ || active_ >= serving_) return 0;
  if (const int number = find_parked(); number != 0) return number;
  ++called_;
  ++active_;
  ++ready_;
  turn_.notify_one();
  return 0;
}

int Slots::find_parked() noexcept {
  if (parked_ > called_ + queued_) return 0;
  if (short_of_threads_) return EAGAIN;
  const int number = crew_.add();
  if (number == 0) {
    refusals_ = 0;
    ++parked_;
    ++running_;
    if (running_ >= serving_) all_serving_made_ = true;
  } else if (number != EBUSY) {
    short_of_threads_ = true;
    main_turn_.notify_one();
    tell_of_shortage(number);
  }
  return number;
}

void Slots::tell_of_shortage(int number) noexcept {
  // Without any thread the mount fails, which says it. Once is no shortage: a thread that has just ended counts as one
  // until the kernel has let go of it.
  if (running_ == 0 || ++refusals_ < 2 || std::exchange(shortage_told_, true)) return;
  try {
    log_line(LogLevel::warning,
             concat(printable(session_.mount_entry().path), ": serving with ", running_,
                    running_ == 1 ? " thread" : " threads", " for now: ", no_thread(number).error().message()));
  } catch (const std::bad_alloc&) {
    // Nothing can be said without memory.
  }
}

void Slots::end_all() {
  stopping_ = true;
  turn_.notify_all();
  main_turn_.notify_all();
  end_.notify_all();
}

bool Slots::wait_for_end(std::chrono::milliseconds patience) {
  const auto give_up = std::chrono::steady_clock::now() + patience;
  const MutexLock lock(turn_mutex_);
  while (!stopping_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(give_up - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    end_.wait_for(turn_mutex_, left);
  }
  return true;
}

void Slots::stop() {
  stopped_ = true;
  const MutexLock lock(turn_mutex_);
  end_all();
}

}  // namespace penstock::fuse
