// SPDX-License-Identifier: Apache-2.0
/// Telling who runs a thread that it is about to wait for a disk, so that another can do its work meanwhile.
#pragma once

namespace penstock {

/// Told by the thread that it was set for.
class BlockingObserver {
 public:
  BlockingObserver() = default;
  BlockingObserver(const BlockingObserver&) = delete;
  BlockingObserver& operator=(const BlockingObserver&) = delete;

  virtual void begins_to_block() noexcept = 0;
  virtual void goes_on() noexcept = 0;
  /// Whether a read that would wait is to fail with EAGAIN instead, having changed nothing.
  [[nodiscard]] virtual bool refuses() const noexcept { return false; }

  /// The calling thread's, or null: nobody wants to know, and a call that may block is made at once.
  static BlockingObserver*& of_this_thread() noexcept {
    thread_local BlockingObserver* observer = nullptr;
    return observer;
  }
  [[nodiscard]] static bool refuses_here() noexcept {
    const auto* const observer = of_this_thread();
    return observer != nullptr && observer->refuses();
  }

 protected:
  ~BlockingObserver() = default;
};

/// From construction to destruction the thread waits for a disk.
class BlockingRegion {
 public:
  BlockingRegion() noexcept : observer_(BlockingObserver::of_this_thread()) {
    if (observer_ != nullptr) observer_->begins_to_block();
  }
  ~BlockingRegion() {
    if (observer_ != nullptr) observer_->goes_on();
  }
  BlockingRegion(const BlockingRegion&) = delete;
  BlockingRegion& operator=(const BlockingRegion&) = delete;

  [[nodiscard]] static bool is_observed() noexcept { return BlockingObserver::of_this_thread() != nullptr; }

 private:
  BlockingObserver* const observer_;
};

}  // namespace penstock
