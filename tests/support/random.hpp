// SPDX-License-Identifier: Apache-2.0
/// Randomness that a failed run can be repeated with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string_view>

namespace penstock::test {

/// Seeded from the environment variable PENSTOCK_SEED, or by the system; prints the seed with `who` when made.
/// Threads: one at a time; give each thread a fork().
class Random {
 public:
  explicit Random(std::string_view who);
  explicit Random(std::uint64_t seed) : seed_(seed), engine_(seed) {}

  [[nodiscard]] std::uint64_t seed() const { return seed_; }
  [[nodiscard]] std::uint64_t next() { return engine_(); }
  /// 0 to bound - 1.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }
  /// Both ends included.
  [[nodiscard]] std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  [[nodiscard]] bool chance(unsigned percent) { return below(100) < percent; }
  void fill(std::span<std::byte> bytes);
  /// An independent generator that follows from this one.
  [[nodiscard]] Random fork() { return Random(next()); }

 private:
  std::uint64_t seed_;
  std::mt19937_64 engine_;
};

/// The same from PENSTOCK_FRESH_SEED where that is set: tests that CI gives a new seed in each run.
[[nodiscard]] Random fresh_random(std::string_view who);

}  // namespace penstock::test
