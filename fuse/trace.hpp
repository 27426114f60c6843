// SPDX-License-Identifier: Apache-2.0
/// Records of all requests in a file, written beside them.
#pragma once

#include "base/json.hpp"
#include "base/mutex.hpp"
#include "fuse/trace_format.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace penstock::fuse {

/// Each thread that serves requests puts its records into a ring of its own; one thread of the trace's takes them out
/// and writes them. add() never waits: what comes faster than the disk takes it is counted as lost, and the file says
/// how much that was. Records stand in the file in the order in which they were fetched, not in that of time.
///
/// States: made -> start() -> writing -> full (the limit is reached) | failed (the disk is full); both keep what was
/// written. Units: nanoseconds, bytes. Threads: add() on any, describe() on any; finish() once, when no add() runs any
/// more. Memory: kRingRecords records for each thread.
class Trace {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint32_t kRingRecords = 4096;

  /// Makes the file. One that is there must be empty or a trace: any other stays as it is.
  /// `bytes_max`: how long it may become. Errors: EEXIST, and those of open(2) and write(2).
  [[nodiscard]] static Result<std::unique_ptr<Trace>> create(const std::string& path, const TraceHeader& header,
                                                             std::uint64_t bytes_max);
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  ~Trace();

  /// Begins to write. Apart from create(): nothing else of the process may run when the daemon gives up its rights, and
  /// a thread that ran before would keep them. Until then records wait in their rings.
  void start();

  /// `record.began` and `record.thread` are filled in here.
  void add(Clock::time_point began, TraceRecord record);

  /// "file", "state", "records", "lost", "bytes".
  [[nodiscard]] Json describe() const;

  /// Writes what is in the rings and ends. Errors: what kept records from being written, at any time.
  [[nodiscard]] Result<> finish();

 private:
  enum class State : std::uint8_t { writing, full, failed };
  struct Ring {
    explicit Ring(std::uint16_t number) : thread(number) {}
    const std::uint16_t thread;
    std::array<TraceRecord, kRingRecords> records;
    alignas(64) std::atomic<std::uint32_t> put{0};  ///< by the thread that serves; counts on, modulo 2^32
    std::atomic<std::uint64_t> lost{0};
    alignas(64) std::atomic<std::uint32_t> taken{0};  ///< by the thread that writes
  };

  Trace(std::string path, int file, std::uint64_t written, std::uint64_t bytes_max);
  [[nodiscard]] Ring* ring_of_this_thread();
  void run();
  void write_out(const std::vector<std::byte>& bytes, std::uint64_t records);
  void drain(std::vector<std::byte>& bytes);
  void drain(Ring& ring, std::vector<std::byte>& bytes, std::uint64_t& records);

  const std::string path_;
  const int file_;
  const std::uint64_t bytes_max_;
  const Clock::time_point started_ = Clock::now();
  const std::uint64_t number_;  ///< no other trace of this process has it

  std::atomic<State> state_{State::writing};
  std::atomic<std::uint64_t> bytes_;
  std::atomic<std::uint64_t> records_{0};
  std::atomic<std::uint64_t> lost_{0};  ///< as far as the file says so

  mutable Mutex mutex_;
  ConditionVariable wake_;
  bool ending_ GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<Ring>> rings_ GUARDED_BY(mutex_);
  std::optional<Error> problem_ GUARDED_BY(mutex_);
  std::thread writer_;
};

}  // namespace penstock::fuse
