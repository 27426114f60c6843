// SPDX-License-Identifier: Apache-2.0
#include "fuse/statistics.hpp"

#include <algorithm>
#include <bit>

namespace penstock::fuse {

namespace {

using Json = nlohmann::ordered_json;
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

unsigned LatencyHistogram::bucket_of(std::uint64_t nanoseconds) {
  if (nanoseconds < 4) return static_cast<unsigned>(nanoseconds);
  const auto power = static_cast<unsigned>(std::bit_width(nanoseconds)) - 1;
  return power * 4 + static_cast<unsigned>((nanoseconds >> (power - 2)) & 3U);
}

std::uint64_t LatencyHistogram::upper_bound(unsigned bucket) {
  const auto power = bucket / 4;
  if (power < 2) return bucket;
  return ((std::uint64_t{4} + bucket % 4 + 1) << (power - 2)) - 1;
}

void LatencyHistogram::add_to(LatencyHistogram& sum) const {
  for (unsigned i = 0; i < kBuckets; ++i) sum.counts_[i].fetch_add(counts_[i].load(kRelaxed), kRelaxed);
  sum.max_ = std::max(sum.max_.load(kRelaxed), max_.load(kRelaxed));
}

std::uint64_t LatencyHistogram::percentile(double part) const {
  std::uint64_t all = 0;
  for (const auto& count : counts_) all += count.load(kRelaxed);
  if (all == 0) return 0;
  const auto wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(part * static_cast<double>(all) + 0.5));
  std::uint64_t seen = 0;
  for (unsigned i = 0; i < kBuckets; ++i) {
    seen += counts_[i].load(kRelaxed);
    if (seen >= wanted) return std::min(upper_bound(i), max());
  }
  return max();
}

Statistics::Statistics()
    : shards_(std::make_unique<std::array<Shard, kShards>>()),
      written_store_(std::make_unique<std::array<std::atomic<std::uint8_t>, kCells>>()),
      written_(written_store_->data()) {}

void Statistics::count(RequestKind kind, std::uint64_t bytes, bool succeeded, std::chrono::nanoseconds time) {
  static std::atomic<unsigned> threads{0};
  thread_local const unsigned mine = threads.fetch_add(1, kRelaxed) % kShards;
  auto& shard = (*shards_)[mine];
  auto& counter = shard.counters[static_cast<unsigned>(kind)];
  const auto nanoseconds = static_cast<std::uint64_t>(time.count());
  counter.requests.fetch_add(1, kRelaxed);
  counter.bytes.fetch_add(bytes, kRelaxed);
  counter.nanoseconds.fetch_add(nanoseconds, kRelaxed);
  if (!succeeded) counter.errors.fetch_add(1, kRelaxed);
  if (kind == RequestKind::read) shard.reads.count(nanoseconds);
  if (kind == RequestKind::write) shard.writes.count(nanoseconds);
}

bool Statistics::was_written(std::uint64_t cell, std::uint64_t cells) const {
  const auto first = cell * kCells / cells;
  const auto end = std::max(first + 1, (cell + 1) * kCells / cells);
  return std::any_of(written_ + first, written_ + std::min<std::uint64_t>(end, kCells),
                     [](const auto& mark) { return mark.load(kRelaxed) != 0; });
}

Statistics::Total Statistics::total(RequestKind kind) const {
  Total sum;
  for (const auto& shard : *shards_) {
    const auto& counter = shard.counters[static_cast<unsigned>(kind)];
    sum.requests += counter.requests.load(kRelaxed);
    sum.bytes += counter.bytes.load(kRelaxed);
    sum.errors += counter.errors.load(kRelaxed);
    sum.nanoseconds += counter.nanoseconds.load(kRelaxed);
  }
  return sum;
}

Json Statistics::latency(LatencyHistogram Shard::* which) const {
  const auto sum = std::make_unique<LatencyHistogram>();
  for (const auto& shard : *shards_) (shard.*which).add_to(*sum);
  return {{"p50", sum->percentile(0.5)},
          {"p90", sum->percentile(0.9)},
          {"p99", sum->percentile(0.99)},
          {"max", sum->max()}};
}

Json Statistics::describe() const {
  const auto reads = total(RequestKind::read);
  const auto writes = total(RequestKind::write);
  const auto flushes = total(RequestKind::flush);
  const auto zeroes = total(RequestKind::zero);
  return {{"reads", reads.requests},
          {"read-bytes", reads.bytes},
          {"writes", writes.requests},
          {"write-bytes", writes.bytes},
          {"flushes", flushes.requests},
          {"zeroes", zeroes.requests},
          {"errors", reads.errors + writes.errors + flushes.errors + zeroes.errors},
          {"read-latency-ns", latency(&Shard::reads)},
          {"write-latency-ns", latency(&Shard::writes)}};
}

Json Statistics::block_stats() const {
  const auto reads = total(RequestKind::read);
  const auto writes = total(RequestKind::write);
  const auto flushes = total(RequestKind::flush);
  const auto zeroes = total(RequestKind::zero);
  return {{"rd_bytes", reads.bytes},
          {"wr_bytes", writes.bytes},
          {"unmap_bytes", zeroes.bytes},
          {"rd_operations", reads.requests - reads.errors},
          {"wr_operations", writes.requests - writes.errors},
          {"flush_operations", flushes.requests - flushes.errors},
          {"unmap_operations", zeroes.requests - zeroes.errors},
          {"rd_total_time_ns", reads.nanoseconds},
          {"wr_total_time_ns", writes.nanoseconds},
          {"flush_total_time_ns", flushes.nanoseconds},
          {"unmap_total_time_ns", zeroes.nanoseconds},
          {"failed_rd_operations", reads.errors},
          {"failed_wr_operations", writes.errors},
          {"failed_flush_operations", flushes.errors},
          {"failed_unmap_operations", zeroes.errors},
          {"invalid_rd_operations", 0},
          {"invalid_wr_operations", 0},
          {"invalid_flush_operations", 0},
          {"invalid_unmap_operations", 0},
          {"rd_merged", 0},
          {"wr_merged", 0},
          {"unmap_merged", 0},
          {"account_invalid", true},
          {"account_failed", true}};
}

}  // namespace penstock::fuse
