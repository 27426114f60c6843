// SPDX-License-Identifier: Apache-2.0
/// An io_uring that can do two things: exchange requests with one FUSE device, and be woken.
#pragma once

#include <penstock/error.hpp>

#include <linux/io_uring.h>

#include <cstdint>
#include <memory>

namespace penstock::fuse {

/// Threads: make() and the end on any; all else on the one that called enable(). Source: io_uring(7), the kernel's
/// io_uring.h.
class IoRing {
 public:
  /// For `entries` submissions under way at a time. Errors: what io_uring_setup(2) says, where it is switched off.
  [[nodiscard]] static Result<std::unique_ptr<IoRing>> make(unsigned entries, int device, int wake_up);
  IoRing(const IoRing&) = delete;
  IoRing& operator=(const IoRing&) = delete;
  ~IoRing();

  /// The calling thread's from now on.
  [[nodiscard]] Result<> enable();
  /// Room for a command to the device; zero, but for what all of them have. `tag` comes back with its completion.
  /// 128 bytes, of which `cmd` has 80. There is always room for as many as make() was told.
  [[nodiscard]] io_uring_sqe& add_command(std::uint32_t command, std::uint64_t tag);
  /// Completes with `tag` whenever the wake-up descriptor is written.
  void add_wake_up(std::uint64_t tag);
  /// Hands over what was added, and waits for a completion if `wait`. Errors: none that passes.
  [[nodiscard]] Result<> submit(bool wait);
  /// The next completion, or null. Valid until pop().
  [[nodiscard]] const io_uring_cqe* peek() const;
  void pop();

 private:
  IoRing(int descriptor, int device, int wake_up) : descriptor_(descriptor), device_(device), wake_up_(wake_up) {}
  [[nodiscard]] Result<> map(const io_uring_params& parameters);
  [[nodiscard]] Result<> confine();
  [[nodiscard]] io_uring_sqe& next();

  const int descriptor_;
  // Not registered with the ring, which would keep the device open for a moment after the daemon was killed.
  const int device_;
  const int wake_up_;
  void* rings_ = nullptr;
  std::size_t rings_bytes_ = 0;
  void* submissions_ = nullptr;
  std::size_t submissions_bytes_ = 0;
  unsigned mask_ = 0;
  unsigned completion_mask_ = 0;
  unsigned tail_ = 0;   ///< of submissions, ours; the kernel's once submitted
  unsigned added_ = 0;  ///< not submitted yet
  std::uint32_t* kernel_tail_ = nullptr;
  std::uint32_t* completion_head_ = nullptr;
  std::uint32_t* completion_tail_ = nullptr;
  io_uring_cqe* completions_ = nullptr;
};

}  // namespace penstock::fuse
