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

/// A request that is served from one look to the next and the one after waits for something. So long do others wait at
/// most for a slot; no request that need not wait takes as long.
constexpr std::chrono::milliseconds kBetweenLooks{5};

/// So many are at hand for the next requests that have to wait for a disk.
constexpr int kParkedMost = 32;

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
      crew_(serving + blocked, [this] { run_slot(); }, geteuid() != 0 ? kTasksToEnd : 0) {}

Result<> Slots::run(const std::function<Grace()>& make_grace) {
  install_interruption();
  auto* const rings = session_.rings();
  auto begun = or_no_thread([this, rings] {
    if (rings == nullptr) return;
    rings->start({.system = &system_,
                  .hand_on = [this](Request& request) { return hand_on(request); },
                  .failed = [this](const Error& error) { fail(error); }});
  });
  if (begun) begun = begin();
  if (begun) wait_for_the_end(make_grace);
  if (rings != nullptr && left_waiting() == 0) rings->stop();
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

void Slots::wait_for_the_end(const std::function<Grace()>& make_grace) {
  const MutexLock lock(turn_mutex_);
  auto ask_again = std::chrono::steady_clock::now();
  while (!stopping_) {
    // To be woken costs a request more than it does itself: asleep is who has seen nothing come in a whole while. The
    // second look is for what has come before the slots knew that they have to wake somebody.
    main_sleeps_ = false;
    bool any = look_at_slots();
    if (!any) {
      main_sleeps_ = true;
      any = look_at_slots();
    }
    if (any) {
      main_sleeps_ = false;
      main_turn_.wait_for(turn_mutex_, kBetweenLooks);
    } else if (short_of_threads_) {
      main_turn_.wait_for(turn_mutex_, kBeforeAskingAgain);
    } else {
      main_turn_.wait(turn_mutex_);
    }
    const auto now = std::chrono::steady_clock::now();
    if (!short_of_threads_) ask_again = now + kBeforeAskingAgain;
    if (now < ask_again) continue;
    ask_again = now + kBeforeAskingAgain;
    short_of_threads_ = false;
    if (lacks_receivers()) static_cast<void>(call_one());
    if (called_ + queued_ > parked_) static_cast<void>(find_parked());
  }
  // A signal may arrive just before the read that it is to interrupt, so it is sent until all loops have ended.
  Grace grace = make_grace();
  while (running_ != 0 && !grace.is_over()) {
    crew_.interrupt(kInterruption);
    main_turn_.wait_for(turn_mutex_, kBetweenInterruptions);
  }
}

bool Slots::look_at_slots() noexcept {
  bool any = false;
  for (auto* const watch : watches_) any = watch->look() || any;
  while (lacks_receivers() && call_one() == 0) continue;
  return any;
}

unsigned Slots::left_waiting() {
  const MutexLock lock(turn_mutex_);
  return static_cast<unsigned>(running_);
}

void Slots::wake_main() noexcept {
  const MutexLock lock(turn_mutex_);
  main_turn_.notify_one();
}

void Slots::run_slot() {
  Watch watch(*this);
  {
    const MutexLock lock(turn_mutex_);
    watches_.push_back(&watch);
  }
  auto ended = serve(watch);
  const MutexLock lock(turn_mutex_);
  std::erase(watches_, &watch);
  --running_;
  if (ended && *ended == Turn::surplus) return;
  // One slot that is gone is one too few: end the others too, whatever the reason.
  if (!ended && !failure_) failure_ = std::move(ended).error();
  end_all();
}

Result<Slots::Turn> Slots::serve(Watch& watch) {
  ReceiveBuffer buffer;
  // Made because it is needed, like one that was parked.
  auto turn = stand_by(watch);
  for (; turn == Turn::receive; turn = wait_for_turn(watch)) {
    const WaitScope scope(&watch);
    if (!TRY(session_.receive(buffer, stopping_, watch))) return Turn::all_end;
  }
  return turn;
}

Slots::Turn Slots::wait_for_turn(Watch& watch) {
  watch.leaves();
  {
    const MutexLock lock(turn_mutex_);
    // Under the mutex, as call_one() looks for whom to call: with one too few at work nobody may park.
    if (active_.fetch_sub(1) <= serving_ && !stopping_) {
      ++active_;
      return Turn::receive;
    }
    if (!stopping_ && parked_ - called_ - queued_ >= kParkedMost) return Turn::surplus;
    ++parked_;
  }
  return stand_by(watch);
}

Slots::Turn Slots::stand_by(Watch& watch) {
  bool end = false;
  while (auto* const request = next_handed_on(end)) {
    // Nobody minds when it waits.
    serve_request(system_, *request);
    const MutexLock lock(turn_mutex_);
    --helping_;
    ++parked_;
  }
  watch.ready = !end;
  return end ? Turn::all_end : Turn::receive;
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

void Slots::Watch::begins_to_wait() noexcept {
  at_once = 0;
  if ((turn_.fetch_or(kBlocked) & kBlocked) != 0) return;
  if (slots.active_.fetch_sub(1) <= slots.serving_) slots.see_to_receivers();
}

void Slots::Watch::goes_on() noexcept {
  if ((turn_.fetch_and(~kBlocked) & kBlocked) != 0) ++slots.active_;
}

bool Slots::Watch::receives_on() noexcept {
  end_request();
  // While requests wait for the disk, whoever came to help stays: calling one for each would cost more than it gains.
  if (slots.active_.load(std::memory_order_relaxed) > slots.serving_ && at_once++ >= kPatience) return false;
  if (!ready && !slots.all_serving_made_.load(std::memory_order_relaxed)) {
    ready = true;
    ++slots.ready_;
  }
  return true;
}

void Slots::Watch::received() noexcept {
  // Only a slot that serves is touched by look().
  turn_.store((turn_.load(std::memory_order_relaxed) | kServing) + kNext);
  if (slots.main_sleeps_ && slots.main_sleeps_.exchange(false)) slots.wake_main();
  const bool was_ready = std::exchange(ready, false);
  if (slots.all_serving_made_.load(std::memory_order_relaxed) || !was_ready) return;
  if (slots.ready_.fetch_sub(1) == 1) slots.see_to_receivers();
}

void Slots::Watch::leaves() noexcept {
  end_request();
  if (std::exchange(ready, false)) --slots.ready_;
}

void Slots::Watch::end_request() noexcept {
  if ((turn_.load(std::memory_order_relaxed) & kServing) == 0) return;
  if ((turn_.fetch_and(~(kServing | kBlocked)) & kBlocked) == 0) return;
  at_once = 0;
  ++slots.active_;
}

bool Slots::Watch::look() noexcept {
  auto now = turn_.load();
  const bool is_the_same = std::exchange(seen_, now) == now;
  if ((now & kServing) == 0) return !is_the_same;
  if (is_the_same && (now & kBlocked) == 0 && turn_.compare_exchange_strong(now, now | kBlocked)) {
    slots.active_.fetch_sub(1);
  }
  return true;
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
