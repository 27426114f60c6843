// SPDX-License-Identifier: Apache-2.0
/// What the guest asks for, and how long it waits for it.
#pragma once

#include "base/json.hpp"
#include "fuse/trace.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>

namespace penstock::fuse {

/// Latencies by powers of two, each split in four: a percentile is right to within a quarter.
/// Units: nanoseconds. Threads: any.
class LatencyHistogram {
 public:
  void count(std::uint64_t nanoseconds) {
    counts_[bucket_of(nanoseconds)].fetch_add(1, std::memory_order_relaxed);
    auto most = max_.load(std::memory_order_relaxed);
    while (nanoseconds > most && !max_.compare_exchange_weak(most, nanoseconds, std::memory_order_relaxed)) continue;
  }
  void add_to(LatencyHistogram& sum) const;
  /// The latency that `part` (0 to 1) of all requests did not exceed; 0 when there were none.
  [[nodiscard]] std::uint64_t percentile(double part) const;
  [[nodiscard]] std::uint64_t max() const { return max_.load(std::memory_order_relaxed); }
  /// [upper bound in nanoseconds, requests] for each step that has some, from the fastest on.
  [[nodiscard]] Json describe() const;

 private:
  static constexpr unsigned kBuckets = 64 * 4;
  [[nodiscard]] static unsigned bucket_of(std::uint64_t nanoseconds);
  [[nodiscard]] static std::uint64_t upper_bound(unsigned bucket);

  std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
  std::atomic<std::uint64_t> max_{0};
};

/// Counters since the mount, kept by thread so that no cache line is written by all.
/// Threads: any. describe() adds up what the threads have counted, without stopping them.
class Statistics {
 public:
  static constexpr std::uint32_t kCells = 65536;

  Statistics();

  /// One request: counted and timed from construction to destruction; EIO unless succeeded() or failed() was called.
  class Request {
   public:
    Request(Statistics& statistics, RequestKind kind, std::uint64_t offset, std::uint64_t length)
        : statistics_(statistics), kind_(kind), offset_(offset), length_(length), began_(Trace::Clock::now()) {}
    ~Request() {
      if (!withdrawn_) statistics_.count(*this, Trace::Clock::now());
    }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;
    void succeeded(std::uint64_t bytes = 0) {
      error_ = 0;
      bytes_ = bytes;
    }
    void failed(int number) { error_ = number; }
    /// It is begun again, and counts then.
    void withdraw() { withdrawn_ = true; }

   private:
    friend class Statistics;
    Statistics& statistics_;
    const RequestKind kind_;
    const std::uint64_t offset_;
    const std::uint64_t length_;
    const Trace::Clock::time_point began_;
    std::uint64_t bytes_ = 0;
    int error_ = EIO;
    bool withdrawn_ = false;
  };

  /// From now on every request goes there, too. Before the first request; `trace` must live as long.
  void set_trace(Trace* trace) noexcept { trace_ = trace; }

  /// The guest has changed `length` bytes at `offset` of a disk of `size` bytes.
  void mark_written(std::uint64_t offset, std::uint64_t length, std::uint64_t size) {
    if (length == 0 || size == 0) return;
    const auto cell = [size](std::uint64_t at) {
      return static_cast<std::uint32_t>(static_cast<long double>(at) / static_cast<long double>(size) * kCells);
    };
    for (auto i = cell(offset); i <= cell(offset + length - 1) && i < kCells; ++i) {
      if (written_[i].load(std::memory_order_relaxed) == 0) written_[i].store(1, std::memory_order_relaxed);
    }
  }
  /// Whether anything in part `cell` of `cells` was changed.
  [[nodiscard]] bool was_written(std::uint64_t cell, std::uint64_t cells) const;

  [[nodiscard]] Json describe() const;
  /// By kind: requests, bytes, errors, nanoseconds, and how many took how long.
  [[nodiscard]] Json describe_histograms() const;
  /// As QMP's query-blockstats has them. Source: QEMU's qapi/block-core.json, BlockDeviceStats.
  [[nodiscard]] Json block_stats() const;

 private:
  struct alignas(64) Counter {
    std::atomic<std::uint64_t> requests{0};
    std::atomic<std::uint64_t> bytes{0};
    std::atomic<std::uint64_t> errors{0};
    std::atomic<std::uint64_t> nanoseconds{0};
  };
  struct Shard {
    std::array<Counter, kRequestKinds> counters;
    std::array<LatencyHistogram, kRequestKinds> latencies;
  };
  struct Total {
    std::uint64_t requests = 0;
    std::uint64_t bytes = 0;
    std::uint64_t errors = 0;
    std::uint64_t nanoseconds = 0;
  };
  static constexpr unsigned kShards = 16;

  void count(const Request& request, Trace::Clock::time_point ended);
  [[nodiscard]] Total total(RequestKind kind) const;
  [[nodiscard]] std::unique_ptr<LatencyHistogram> latencies(RequestKind kind) const;
  [[nodiscard]] Json latency(RequestKind kind) const;

  std::unique_ptr<std::array<Shard, kShards>> shards_;
  std::unique_ptr<std::array<std::atomic<std::uint8_t>, kCells>> written_store_;
  std::atomic<std::uint8_t>* written_;
  Trace* trace_ = nullptr;
};

}  // namespace penstock::fuse
