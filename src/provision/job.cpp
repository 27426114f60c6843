// SPDX-License-Identifier: Apache-2.0
#include "provision/job.hpp"

#include "base/memory.hpp"
#include "base/text.hpp"
#include "base/thread_room.hpp"

#include <algorithm>

namespace penstock {

namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

// Long enough for the disk, short enough that a guest write behind it does not wait for long.
constexpr std::uint64_t kStepBytes = 2U << 20U;
// Zeroes are a matter of tables.
constexpr std::uint64_t kZeroStepBytes = 64U << 20U;
// Where nothing is to be done, looking goes so many times as far the next time: a large sparse disk is passed soon.
constexpr std::uint64_t kLookGrows = 4;
// A limited job takes steps of this part of a second, so that it is even.
constexpr std::uint64_t kStepsPerSecond = 20;
constexpr milliseconds kSlice{20};
constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{30000};
constexpr milliseconds kLongestPauseForRoom{2000};
// Beside a busy guest: steps so short that a request is not held up for long by one, and pauses that leave it most of
// the machine.
constexpr std::uint64_t kBusyStepBytes = 64U << 10U;
constexpr unsigned kGiveWayFactor = 3;
constexpr std::chrono::microseconds kShortestGiveWay{300};
constexpr milliseconds kLongestGiveWay{50};
constexpr milliseconds kBusyFor{20};
// So much copied data at most waits for the flush, whatever the interval.
constexpr std::uint64_t kUnflushedMax = 4ULL << 30U;

}  // namespace

bool means_no_room(const Error& error) {
  return error.is(ENOSPC) || error.is(EDQUOT);
}

bool has_ended(ProvisionState state) {
  return state == ProvisionState::done || state == ProvisionState::cancelled || state == ProvisionState::failed;
}

std::string_view to_string(ProvisionState state) {
  switch (state) {
    case ProvisionState::idle:
      return "idle";
    case ProvisionState::running:
      return "running";
    case ProvisionState::paused:
      return "paused";
    case ProvisionState::waiting:
      return "waiting";
    case ProvisionState::finishing:
      return "finishing";
    case ProvisionState::done:
      return "done";
    case ProvisionState::cancelled:
      return "cancelled";
    case ProvisionState::failed:
      break;
  }
  return "failed";
}

Provisioner::Job::Job(Image& image, Executor& background, Clock& clock, ProvisionOptions options,
                      std::function<void(const Progress&)> changed)
    : image_(image),
      background_(background),
      clock_(clock),
      options_(options),
      changed_(std::move(changed)),
      flushed_(clock.now()),
      limiter_(clock.now()) {
  limiter_.set_rate(options.bytes_per_second, clock.now());
}

Provisioner::Job::~Job() {
  cancel();
  if (thread_.joinable()) thread_.join();
}

bool Provisioner::Job::ended() const {
  return has_ended(state_);
}

void Provisioner::Job::tell(ProvisionState state) {
  if (!changed_) return;
  auto now = progress();
  now.state = state;  // which may have changed again
  changed_(now);
}

bool Provisioner::Job::enter_if_going(ProvisionState state, const Error* error) {
  {
    const MutexLock lock(mutex_);
    if (ended() || state_ == ProvisionState::finishing) return false;
    if (error != nullptr) error_ = *error;
    // A pause that somebody asked for outlasts a wait before the next try, and a failure that passes.
    const bool keeps_pause = state_ == ProvisionState::paused && state == ProvisionState::waiting;
    if (state_ == state || keeps_pause) return true;
    state_ = state;
    state_changed_.notify_all();
    // Told when the steps in hand have ended, too.
    if (ended()) return true;
  }
  tell(state);
  return true;
}

void Provisioner::Job::start() {
  {
    const MutexLock lock(mutex_);
    if (state_ != ProvisionState::idle) return;  // cancelled before it began
    state_ = ProvisionState::running;
    at_work_ = true;
    copy_meter_.count(0, clock_.now());
    disk_meter_.count(0, clock_.now());
  }
  tell(ProvisionState::running);
  const auto begun = or_no_thread([this] { thread_ = std::thread([this] { run(); }); });
  if (begun) return;
  static_cast<void>(enter_if_going(ProvisionState::failed, &begun.error()));
  leave();
}

void Provisioner::Job::leave() {
  tell(progress().state);
  const MutexLock lock(mutex_);
  at_work_ = false;
  state_changed_.notify_all();
}

void Provisioner::Job::pause() {
  static_cast<void>(enter_if_going(ProvisionState::paused));
}

void Provisioner::Job::resume() {
  {
    const MutexLock lock(mutex_);
    ++resumes_;
    if (state_ == ProvisionState::idle) return;
  }
  static_cast<void>(enter_if_going(ProvisionState::running));
}

void Provisioner::Job::cancel() {
  if (enter_if_going(ProvisionState::cancelled)) cancelled_ = true;
}

void Provisioner::Job::set_speed(std::uint64_t bytes_per_second) {
  const MutexLock lock(mutex_);
  limiter_.set_rate(bytes_per_second, clock_.now());
}

Result<> Provisioner::Job::wait() {
  const MutexLock lock(mutex_);
  while (!ended() || at_work_) state_changed_.wait(mutex_);
  if (state_ == ProvisionState::done) return {};
  if (state_ == ProvisionState::cancelled)
    return fail(ECANCELED, concat(printable(image_.name()), ": streaming was cancelled"));
  return Failure(error_.value_or(Error(EIO, "streaming failed")));
}

bool Provisioner::Job::wait_for_end(std::chrono::milliseconds patience) {
  const auto give_up = std::chrono::steady_clock::now() + patience;
  const MutexLock lock(mutex_);
  while (at_work_) {
    const auto left = std::chrono::ceil<milliseconds>(give_up - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    state_changed_.wait_for(mutex_, left);
  }
  return true;
}

Progress Provisioner::Job::progress() const {
  const MutexLock lock(mutex_);
  const auto now = clock_.now();
  const bool moving = state_ == ProvisionState::running;
  return {.state = state_,
          .length = image_.virtual_size(),
          .offset = std::min(passed_, image_.virtual_size()),
          .populated = populated_,
          .bytes_per_second_max = limiter_.rate(),
          .bytes_per_second = moving ? copy_meter_.rate(populated_.copied, now) : 0,
          .disk_bytes_per_second = moving ? disk_meter_.rate(passed_, now) : 0,
          .errors = errors_,
          .no_space = state_ == ProvisionState::waiting && error_ && means_no_room(*error_),
          .error = error_};
}

void Provisioner::Job::run() {
  background_.run_on_all_slots([this](unsigned slot) { work(slot); });
  // Nobody else ends the job from here on, unless it has ended already.
  if (enter_if_going(ProvisionState::finishing)) {
    auto finished = or_out_of_memory([this] { return finish(); });
    const MutexLock lock(mutex_);
    state_ = finished ? ProvisionState::done : ProvisionState::failed;
    if (!finished) {
      ++errors_;
      error_ = std::move(finished).error();
    }
  }
  leave();
}

Result<> Provisioner::Job::finish() {
  TRY(image_.flush_populated());
  if (image_.layer_count() == 1) return {};
  return image_.drop_backing(options_.base.get());
}

void Provisioner::Job::work(unsigned slot) {
  WaitLimit limit(std::nullopt, &cancelled_);
  const WaitScope scope(&limit);
  nanoseconds last_step{};
  while (wait_until_running()) {
    give_way(slot, last_step);
    wait_for_tokens();
    // A pause that came meanwhile is no time for another step.
    if (!wait_until_running()) return;
    const auto step = next_step();
    if (!step) {
      const MutexLock lock(mutex_);
      exhausted_ = true;
      return;
    }
    const auto began = clock_.now();
    if (!do_step(*step)) return;
    last_step = clock_.now() - began;
  }
}

std::optional<GuestRange> Provisioner::Job::next_step() {
  const MutexLock plan(plan_mutex_);
  for (unsigned tries = 0;; ++tries) {
    // Not or_out_of_memory(): the lock analysis does not look into lambdas.
    Result<std::optional<GuestRange>> step = fail(ENOMEM, "no memory");
    try {
      step = find_step();
    } catch (const std::bad_alloc&) {
    }
    if (step) return *step;
    if (!try_again(step.error(), tries)) return std::nullopt;
  }
}

Result<std::optional<GuestRange>> Provisioner::Job::find_step() {
  const std::uint64_t cluster = image_.geometry().cluster_size;
  // The image may be resized meanwhile.
  while (cursor_.value < image_.virtual_size()) {
    std::uint64_t rate = 0;
    {
      const MutexLock lock(mutex_);
      if (ended()) return std::nullopt;
      rate = limiter_.rate();
    }
    const auto size = image_.virtual_size();
    if (cursor_.value >= size) break;
    const GuestRange view{cursor_, std::min(size - cursor_.value, look_bytes_)};
    const auto found = TRY(image_.missing(view, options_.base.get()));
    std::uint64_t length = found.length;
    GuestRange step{{align_down(cursor_.value, cluster)}, 0};
    if (found.missing) {
      auto most = found.known_zero ? kZeroStepBytes : guest_is_busy() ? kBusyStepBytes : kStepBytes;
      if (rate != 0 && !found.known_zero) most = std::clamp(rate / kStepsPerSecond, std::uint64_t{4096}, most);
      most = align_up(most, cluster);
      const auto boundary = align_down(cursor_.value, most) + most;
      step.length = std::min({align_up(cursor_.value + length, cluster), boundary, size}) - step.offset.value;
      length = step.end() - cursor_;
    }
    look_bytes_ = length < view.length ? kLookBytes : look_bytes_ * kLookGrows;
    const auto now = clock_.now();
    cursor_ += length;
    if (found.missing) return step;
    const MutexLock lock(mutex_);
    passed_ += length;
    disk_meter_.count(passed_, now);
  }
  return std::nullopt;
}

bool Provisioner::Job::do_step(GuestRange step) {
  for (unsigned tries = 0;; ++tries) {
    const auto done = or_out_of_memory([&] { return image_.populate(step, options_.base.get()); });
    if (done) {
      const MutexLock lock(mutex_);
      const auto now = clock_.now();
      populated_.copied += done->copied;
      populated_.zeroed += done->zeroed;
      populated_.left += done->left;
      passed_ += step.length;
      unflushed_ += done->copied;
      limiter_.charge(done->copied, now);
      copy_meter_.count(populated_.copied, now);
      disk_meter_.count(passed_, now);
      break;
    }
    // The disk was made shorter: what lies behind its end is not needed.
    if (step.end().value > image_.virtual_size()) return true;
    if (!try_again(done.error(), tries)) return false;
  }
  for (unsigned tries = 0;; ++tries) {
    const auto flushed = flush_when_due();
    if (flushed) return true;
    if (!try_again(flushed.error(), tries)) return false;
  }
}

Result<> Provisioner::Job::flush_when_due() {
  {
    const MutexLock lock(mutex_);
    const bool due = clock_.now() - flushed_ >= options_.flush_interval || unflushed_ >= kUnflushedMax;
    if (flushing_ || !due) return {};
    flushing_ = true;
    unflushed_ = 0;
  }
  auto flushed = or_out_of_memory([this] { return image_.flush_populated(); });
  const MutexLock lock(mutex_);
  flushing_ = false;
  if (flushed) flushed_ = clock_.now();
  return flushed;
}

bool Provisioner::Job::try_again(const Error& error, unsigned tries) {
  const bool room = means_no_room(error);
  unsigned resumes = 0;
  {
    const MutexLock lock(mutex_);
    ++errors_;
    resumes = resumes_;
  }
  if (!room && options_.on_error == OnError::report) {
    static_cast<void>(enter_if_going(ProvisionState::failed, &error));
    return false;
  }
  if (!room && options_.on_error == OnError::stop) {
    return enter_if_going(ProvisionState::paused, &error) && wait_until_running();
  }
  if (!enter_if_going(ProvisionState::waiting, &error)) return false;
  auto left = std::chrono::duration_cast<nanoseconds>(
      std::min(kFirstPause * (1U << std::min(tries, 10U)), room ? kLongestPauseForRoom : kLongestPause));
  while (left > nanoseconds::zero()) {
    const auto slice = std::min<nanoseconds>(left, kSlice);
    clock_.sleep_for(slice);
    left -= slice;
    const MutexLock lock(mutex_);
    if (ended()) return false;
    if (resumes_ != resumes) break;
  }
  {
    const MutexLock lock(mutex_);
    if (state_ == ProvisionState::waiting) {
      state_ = ProvisionState::running;
      state_changed_.notify_all();
    }
  }
  return wait_until_running();
}

bool Provisioner::Job::guest_is_busy() {
  const auto activity = image_.activity();
  const auto now = clock_.now();
  const MutexLock lock(mutex_);
  if (activity.in_flight != 0 || activity.requests != requests_seen_) busy_until_ = now + kBusyFor;
  requests_seen_ = activity.requests;
  return now < busy_until_;
}

void Provisioner::Job::give_way(unsigned slot, nanoseconds last_step) {
  if (slot == 0) {
    if (guest_is_busy()) sleep(std::clamp<nanoseconds>(last_step * kGiveWayFactor, kShortestGiveWay, kLongestGiveWay));
    return;
  }
  // Only the first slot goes on beside a guest.
  while (guest_is_busy()) {
    {
      const MutexLock lock(mutex_);
      if (exhausted_) return;
    }
    if (!sleep(kBusyFor / 4)) return;
  }
}

void Provisioner::Job::wait_for_tokens() {
  for (;;) {
    nanoseconds delay{};
    {
      const MutexLock lock(mutex_);
      delay = limiter_.delay(clock_.now());
    }
    if (delay == nanoseconds::zero() || !sleep(std::min<nanoseconds>(delay, kSlice))) return;
  }
}

bool Provisioner::Job::sleep(nanoseconds time) {
  while (time > nanoseconds::zero()) {
    {
      const MutexLock lock(mutex_);
      if (ended()) return false;
    }
    const auto slice = std::min<nanoseconds>(time, kSlice);
    clock_.sleep_for(slice);
    time -= slice;
  }
  return true;
}

bool Provisioner::Job::wait_until_running() {
  const MutexLock lock(mutex_);
  while (state_ == ProvisionState::paused) state_changed_.wait(mutex_);
  return !ended();
}

}  // namespace penstock
