// SPDX-License-Identifier: Apache-2.0
/// How far long work on one thread is (making and checking images), told to whoever listens on that thread. What copies
/// whole disks, on many threads, tells by CopyOptions instead.
#pragma once

#include <cstdint>
#include <functional>

namespace penstock {

/// While it lives, tell_work() of this thread calls `listener`; an outer one listens again afterwards.
class WorkListener {
 public:
  using Listener = std::function<void(std::uint64_t done, std::uint64_t total)>;
  explicit WorkListener(Listener listener);
  WorkListener(const WorkListener&) = delete;
  WorkListener& operator=(const WorkListener&) = delete;
  ~WorkListener();

 private:
  friend void tell_work(std::uint64_t done, std::uint64_t total);
  Listener listener_;
  WorkListener* outer_;
};

/// `done` of `total` bytes. Costs nothing worth mentioning when nobody listens. Any thread.
void tell_work(std::uint64_t done, std::uint64_t total);

}  // namespace penstock
