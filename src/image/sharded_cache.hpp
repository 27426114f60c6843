// SPDX-License-Identifier: Apache-2.0
/// A bounded cache without a lock that all share, in which everything is made once.
#pragma once

#include <penstock/error.hpp>

#include "base/memory.hpp"
#include "base/mutex.hpp"
#include "base/patient_wait.hpp"

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace penstock {

/// Where a cached thing belongs: a position on a layer, and a mark that tells apart what lay there at different times.
struct CacheKey {
  std::uint64_t position = 0;
  std::uint64_t mark = 0;
  std::uint32_t layer = 0;
  friend bool operator==(const CacheKey&, const CacheKey&) = default;
};

/// Values that are dear to make, the least lately used dropped first (second chance).
/// `Value` has memory_bytes(). Whoever got a value may use it after it was dropped.
/// Bound: budget_bytes, and what is being made. Threads: any; who asks for a value that another thread makes waits, by
/// the thread's rules (penstock/wait.hpp).
template <typename Value>
class ShardedCache {
 public:
  using Pointer = std::shared_ptr<const Value>;

  ShardedCache(std::uint64_t budget_bytes, unsigned shards) : budget_bytes_(budget_bytes / shards), shards_(shards) {}

  /// The value at `key`, made by `make()` (giving Result<Value>) when there is none. A failure goes to all that wait
  /// for it and is not kept; but where the rules of the thread that makes it came to forbid that it waits any longer,
  /// the next that waits makes it. `make` runs without a lock and must not ask this cache. A thread that refuses to
  /// wait makes nothing: Error::would_wait().
  template <typename Make>
  [[nodiscard]] Result<Pointer> get(const CacheKey& key, Make&& make) {
    if (const auto may_wait = Wait::check(WaitFor::bytes); !may_wait) {
      if (auto there = find(key)) return there;
      return Failure(may_wait.error());
    }
    Shard& shard = shards_[mix(key) % shards_.size()];
    for (;;) {
      bool mine = false;
      const auto slot = find_or_insert(shard, key, mine);
      if (mine) return make_value(shard, key, slot, std::forward<Make>(make));
      auto value = wait_for(slot);
      if (!value || *value) return value;
    }
  }

  /// The value at `key` when it is there and made, else null.
  [[nodiscard]] Pointer find(const CacheKey& key) {
    Shard& shard = shards_[mix(key) % shards_.size()];
    const MutexLock lock(shard.mutex);
    const auto found = shard.slots.find(key);
    if (found == shard.slots.end() || found->second->state.load(std::memory_order_acquire) != State::ready) return {};
    found->second->used.store(true, std::memory_order_relaxed);
    return Pointer(found->second, &*found->second->value);
  }

  /// Memory in use.
  [[nodiscard]] std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const auto& shard : shards_) {
      const MutexLock lock(shard.mutex);
      sum += shard.bytes;
    }
    return sum;
  }

 private:
  // A slot, its map node and its place in the queue.
  static constexpr std::uint64_t kOverheadBytes = 320;

  enum class State : std::uint8_t { making, ready, failed, given_up };
  struct Slot {
    Mutex mutex;
    ConditionVariable done;
    std::atomic<State> state{State::making};
    std::atomic<bool> used{true};
    std::optional<Value> value;  // written once, before state says ready
    std::optional<Error> error;  // written once, before state says failed
    std::uint64_t bytes = 0;     // likewise
  };
  struct Hash {
    std::size_t operator()(const CacheKey& key) const { return static_cast<std::size_t>(mix(key) >> 16U); }
  };
  struct alignas(64) Shard {
    mutable Mutex mutex;
    std::unordered_map<CacheKey, std::shared_ptr<Slot>, Hash> slots GUARDED_BY(mutex);
    std::deque<CacheKey> queue GUARDED_BY(mutex);
    std::uint64_t bytes GUARDED_BY(mutex) = 0;
  };

  static std::uint64_t mix(const CacheKey& key) {
    std::uint64_t hash = (key.position ^ (key.mark << 1U)) + (std::uint64_t{key.layer} << 56U);
    hash = (hash ^ (hash >> 30U)) * 0xbf58476d1ce4e5b9ULL;  // splitmix64
    hash = (hash ^ (hash >> 27U)) * 0x94d049bb133111ebULL;
    return hash ^ (hash >> 31U);
  }

  static std::shared_ptr<Slot> find_or_insert(Shard& shard, const CacheKey& key, bool& inserted) {
    const MutexLock lock(shard.mutex);
    auto& slot = shard.slots[key];
    if (!slot) {
      slot = std::make_shared<Slot>();
      inserted = true;
    }
    return slot;
  }

  template <typename Make>
  Result<Pointer> make_value(Shard& shard, const CacheKey& key, const std::shared_ptr<Slot>& slot, Make&& make) {
    Result<Value> made = or_out_of_memory(std::forward<Make>(make));
    // Whoever waits for this value must be told, and it must have its place in the queue.
    const MustHaveMemory memory(std::nothrow);
    if (!made) {
      forget(shard, key);
      // The limit of one is none of the others' business.
      const bool own_limit = !Wait::check(WaitFor::bytes);
      const MutexLock lock(slot->mutex);
      slot->error.emplace(made.error());
      slot->state.store(own_limit ? State::given_up : State::failed, std::memory_order_release);
      slot->done.notify_all();
      return Failure(std::move(made).error());
    }
    {
      const MutexLock lock(slot->mutex);
      slot->value.emplace(std::move(*made));
      slot->bytes = slot->value->memory_bytes() + kOverheadBytes;
      slot->state.store(State::ready, std::memory_order_release);
      slot->done.notify_all();
    }
    settle(shard, key, slot);
    return Pointer(slot, &*slot->value);
  }

  /// Null: nobody makes it any more.
  static Result<Pointer> wait_for(const std::shared_ptr<Slot>& slot) {
    if (slot->state.load(std::memory_order_acquire) == State::making) {
      const MutexLock lock(slot->mutex);
      PatientWait wait(WaitFor::bytes);
      while (slot->state.load(std::memory_order_acquire) == State::making) TRY(wait.on(slot->done, slot->mutex));
    }
    const State state = slot->state.load(std::memory_order_acquire);
    if (state == State::given_up) return Pointer();
    if (state == State::failed) return Failure(*slot->error);
    if (!slot->used.load(std::memory_order_relaxed)) slot->used.store(true, std::memory_order_relaxed);
    return Pointer(slot, &*slot->value);
  }

  static void forget(Shard& shard, const CacheKey& key) {
    const MutexLock lock(shard.mutex);
    shard.slots.erase(key);
  }

  void settle(Shard& shard, const CacheKey& key, const std::shared_ptr<Slot>& slot) {
    const MutexLock lock(shard.mutex);
    shard.queue.push_back(key);
    shard.bytes += slot->bytes;
    while (shard.bytes > budget_bytes_ && !shard.queue.empty()) {
      const auto oldest = shard.queue.front();
      shard.queue.pop_front();
      const auto found = shard.slots.find(oldest);
      if (found->second->used.exchange(false, std::memory_order_relaxed)) {
        shard.queue.push_back(oldest);
        continue;
      }
      shard.bytes -= found->second->bytes;
      shard.slots.erase(found);
    }
  }

  std::uint64_t budget_bytes_;
  std::vector<Shard> shards_;
};

}  // namespace penstock
