// SPDX-License-Identifier: Apache-2.0
/// Waiting as a contract: what a call that may wait owes to whoever runs the thread.
#pragma once

#include <penstock/error.hpp>

#include <atomic>
#include <chrono>
#include <optional>

namespace penstock {

/// What a thread waits for.
enum class WaitFor : std::uint8_t {
  turn,   ///< that others let go of the same clusters; the caller has changed nothing yet
  bytes,  ///< a disk, a server, or a thread that waits for one
};

/// How a thread may wait, set for it by whoever runs it (WaitScope). Every call of a Storage that may wait, and every
/// wait of an Image for its own, asks forbids() first, tells begins_to_wait() and goes_on() around the wait, and looks
/// again at forbids() while it waits. A system call that hangs is not ended: only what waits inside this library is.
/// Threads: the one that it was set for.
class WaitRules {
 public:
  WaitRules() = default;
  WaitRules(const WaitRules&) = delete;
  WaitRules& operator=(const WaitRules&) = delete;

  /// Whether anybody minds begins_to_wait() and goes_on().
  [[nodiscard]] virtual bool observes() const noexcept { return false; }
  virtual void begins_to_wait() noexcept {}
  virtual void goes_on() noexcept {}
  /// Why the thread must not wait (any longer): Error::would_wait(), ETIMEDOUT, ECANCELED. What was asked has no effect
  /// then and can be asked again.
  [[nodiscard]] virtual std::optional<Error> forbids(WaitFor /*what*/) const noexcept { return std::nullopt; }
  /// Whether forbids() may come to forbid what it allowed when the wait began.
  [[nodiscard]] virtual bool changes() const noexcept { return false; }

 protected:
  ~WaitRules() = default;
};

/// Rules for a call that may last only so long, or that somebody may cancel meanwhile.
class WaitLimit final : public WaitRules {
 public:
  using Clock = std::chrono::steady_clock;  ///< not set by anybody
  /// `cancelled` outlives this; null: nobody cancels.
  explicit WaitLimit(std::optional<Clock::time_point> deadline, const std::atomic<bool>* cancelled = nullptr)
      : deadline_(deadline), cancelled_(cancelled) {}

  [[nodiscard]] std::optional<Error> forbids(WaitFor what) const noexcept override;
  [[nodiscard]] bool changes() const noexcept override { return true; }

 private:
  const std::optional<Clock::time_point> deadline_;
  const std::atomic<bool>* const cancelled_;
};

/// Sets the rules of the calling thread until the end of the scope; null: it may wait for ever, and nobody is told.
class WaitScope {
 public:
  explicit WaitScope(WaitRules* rules) noexcept : before_(current()) { current() = rules; }
  ~WaitScope() { current() = before_; }
  WaitScope(const WaitScope&) = delete;
  WaitScope& operator=(const WaitScope&) = delete;

  [[nodiscard]] static WaitRules*& current() noexcept {
    thread_local WaitRules* rules = nullptr;
    return rules;
  }

 private:
  WaitRules* const before_;
};

/// One wait of the calling thread: from construction to destruction.
class Wait {
 public:
  Wait() noexcept : rules_(WaitScope::current()) {
    if (rules_ != nullptr) rules_->begins_to_wait();
  }
  ~Wait() {
    if (rules_ != nullptr) rules_->goes_on();
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  /// Whether it may begin. Errors: WaitRules::forbids().
  [[nodiscard]] static Result<> check(WaitFor what) {
    const auto* const rules = WaitScope::current();
    if (rules == nullptr) return {};
    auto why = rules->forbids(what);
    if (why) return Failure(*std::move(why));
    return {};
  }
  /// Whether somebody is told, so that it is worth a look whether there is anything to wait for.
  [[nodiscard]] static bool is_observed() noexcept {
    return WaitScope::current() != nullptr && WaitScope::current()->observes();
  }

 private:
  WaitRules* const rules_;
};

}  // namespace penstock
