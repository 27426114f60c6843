// SPDX-License-Identifier: Apache-2.0
/// Counting requests without a cache line that all threads write.
#pragma once

#include <penstock/image.hpp>

#include <array>
#include <atomic>

namespace penstock {

/// Threads: any. now() adds up what the threads have counted, without stopping them: in_flight is right to within the
/// requests that begin or end meanwhile.
class Activity {
 public:
  /// One guest request, from construction to destruction.
  class Request {
   public:
    explicit Request(Activity& activity) : shard_(activity.shard()) { shard_.begun.fetch_add(1, kRelaxed); }
    ~Request() { shard_.ended.fetch_add(1, kRelaxed); }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

   private:
    friend class Activity;
    struct alignas(64) Shard {
      std::atomic<std::uint64_t> begun{0};
      std::atomic<std::uint64_t> ended{0};
    };
    Shard& shard_;
  };

  /// Making durable what may be much, which takes as long as the disk needs: from construction to destruction.
  class Flush {
   public:
    explicit Flush(Activity& activity) : flushing_(activity.flushing_) { ++flushing_; }
    ~Flush() { --flushing_; }
    Flush(const Flush&) = delete;
    Flush& operator=(const Flush&) = delete;

   private:
    std::atomic<unsigned>& flushing_;
  };

  void copied_on_read(std::uint64_t bytes) { copied_on_read_.fetch_add(bytes, kRelaxed); }
  void copy_on_read_failed() { copy_on_read_failures_.fetch_add(1, kRelaxed); }

  [[nodiscard]] ImageActivity now() const {
    // Ends first: a request that is counted as ended has been counted as begun.
    std::uint64_t ended = 0;
    std::uint64_t begun = 0;
    for (const auto& shard : shards_) ended += shard.ended.load(std::memory_order_acquire);
    for (const auto& shard : shards_) begun += shard.begun.load(kRelaxed);
    return {.requests = begun,
            .in_flight = begun - ended,
            .flushing = flushing_.load(kRelaxed),
            .copied_on_read = copied_on_read_.load(kRelaxed),
            .copy_on_read_failures = copy_on_read_failures_.load(kRelaxed)};
  }

 private:
  static constexpr auto kRelaxed = std::memory_order_relaxed;
  static constexpr unsigned kShards = 32;

  [[nodiscard]] Request::Shard& shard() {
    static std::atomic<unsigned> threads{0};
    thread_local const unsigned mine = threads.fetch_add(1, kRelaxed) % kShards;
    return shards_[mine];
  }

  std::array<Request::Shard, kShards> shards_;
  std::atomic<unsigned> flushing_{0};
  std::atomic<std::uint64_t> copied_on_read_{0};
  std::atomic<std::uint64_t> copy_on_read_failures_{0};
};

}  // namespace penstock
