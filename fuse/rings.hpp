// SPDX-License-Identifier: Apache-2.0
/// Requests over io_uring: what /dev/fuse carries by read(2) and write(2), by memory that is shared with the kernel.
#pragma once

#include "base/mutex.hpp"
#include "fuse/operations.hpp"

#include <penstock/error.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace penstock::fuse {

/// Whether requests are to come over io_uring as far as can be told before mounting: it was asked for, and the kernel's
/// side is switched on.
[[nodiscard]] bool wants_rings(const MountOptions& options);

/// The kernel has a queue for each processor, to which it gives the requests that are made there. A ring, which is one
/// thread's alone, serves one queue or several. A thread of a ring keeps a whole processor waiting while it waits for a
/// disk, so it serves what the page cache answers, and hands on what does not, with its place in the queue; whoever
/// serves that leaves the answer to the ring's thread.
/// Threads: make(), start() and stop() on one.
class Rings {
 public:
  struct Use {
    FileSystem* system = nullptr;
    /// Takes a request that has to wait; false: the ring serves it itself.
    std::function<bool(Request&)> hand_on;
    /// A ring cannot go on.
    std::function<void(const Error&)> failed;
  };

  /// Sets up rings for at most `threads` threads, and memory for requests of `payload_bytes`. Nothing is started.
  /// Errors: why this system has no io_uring for us.
  [[nodiscard]] static Result<std::unique_ptr<Rings>> make(int device, unsigned threads, std::uint32_t payload_bytes);
  Rings(const Rings&) = delete;
  Rings& operator=(const Rings&) = delete;
  ~Rings();

  /// Requests of one processor that are served at a time.
  [[nodiscard]] unsigned depth() const noexcept { return depth_; }
  /// After the kernel's offer was accepted, which sends nothing before all queues are served.
  void start(Use use);
  /// Ends the threads once everything that was handed on has come back.
  void stop();

 private:
  class Entry;
  class Ring;
  explicit Rings(unsigned depth);

  const unsigned depth_;
  Use use_;
  std::vector<std::unique_ptr<Ring>> rings_;
};

}  // namespace penstock::fuse
