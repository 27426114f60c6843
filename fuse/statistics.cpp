// SPDX-License-Identifier: Apache-2.0
#include "fuse/statistics.hpp"

#include "fuse/probes.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>

namespace penstock::fuse {

namespace {

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

Json LatencyHistogram::describe() const {
  Json steps = Json::array();
  for (unsigned i = 0; i < kBuckets; ++i) {
    if (const auto count = counts_[i].load(kRelaxed); count != 0) steps.push_back({upper_bound(i), count});
  }
  return steps;
}

Statistics::Statistics()
    : shards_(std::make_unique<std::array<Shard, kShards>>()),
      written_store_(std::make_unique<std::array<std::atomic<std::uint8_t>, kCells>>()),
      written_(written_store_->data()) {}

void Statistics::count(const Request& request, Trace::Clock::time_point ended) {
  static std::atomic<unsigned> threads{0};
  thread_local const unsigned mine = threads.fetch_add(1, kRelaxed) % kShards;
  auto& shard = (*shards_)[mine];
  auto& counter = shard.counters[static_cast<unsigned>(request.kind_)];
  const auto nanoseconds = static_cast<std::uint64_t>((ended - request.began_).count());
  counter.requests.fetch_add(1, kRelaxed);
  counter.bytes.fetch_add(request.bytes_, kRelaxed);
  counter.nanoseconds.fetch_add(nanoseconds, kRelaxed);
  if (request.error_ != 0) counter.errors.fetch_add(1, kRelaxed);
  shard.latencies[static_cast<unsigned>(request.kind_)].count(nanoseconds);
  PENSTOCK_PROBE_REQUEST(static_cast<unsigned>(request.kind_), request.offset_, request.length_, nanoseconds,
                         request.error_);
  if (trace_ != nullptr) {
    trace_->add(request.began_, {.offset = request.offset_,
                                 .length = request.length_,
                                 .nanoseconds = nanoseconds,
                                 .error = static_cast<std::uint32_t>(request.error_),
                                 .kind = request.kind_});
  }
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

std::unique_ptr<LatencyHistogram> Statistics::latencies(RequestKind kind) const {
  auto sum = std::make_unique<LatencyHistogram>();
  for (const auto& shard : *shards_) shard.latencies[static_cast<unsigned>(kind)].add_to(*sum);
  return sum;
}

Json Statistics::latency(RequestKind kind) const {
  const auto sum = latencies(kind);
  return {{"p50", sum->percentile(0.5)},
          {"p90", sum->percentile(0.9)},
          {"p99", sum->percentile(0.99)},
          {"max", sum->max()}};
}

Json Statistics::describe_histograms() const {
  Json kinds = Json::object();
  for (unsigned i = 0; i < kRequestKinds; ++i) {
    const auto kind = static_cast<RequestKind>(i);
    const auto sum = total(kind);
    const auto times = latencies(kind);
    kinds[kRequestNames[i]] = {{"requests", sum.requests},       {"bytes", sum.bytes},  {"errors", sum.errors},
                               {"nanoseconds", sum.nanoseconds}, {"max", times->max()}, {"latency", times->describe()}};
  }
  return kinds;
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
          {"read-latency-ns", latency(RequestKind::read)},
          {"write-latency-ns", latency(RequestKind::write)},
          {"flush-latency-ns", latency(RequestKind::flush)},
          {"zero-latency-ns", latency(RequestKind::zero)}};
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
