// SPDX-License-Identifier: Apache-2.0
/// How many requests of each kind there were, and how long they took.
#pragma once

#include "cli/json_text.hpp"

#include <penstock/error.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace penstock::cli {

/// So many requests took no longer than `below`, and longer than the step before.
struct LatencyStep {
  std::uint64_t below = 0;  ///< nanoseconds, inclusive
  std::uint64_t count = 0;
  friend bool operator==(const LatencyStep&, const LatencyStep&) = default;
};

struct RequestFacts {
  std::string kind;  ///< read, write, flush, zero
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;
  std::uint64_t errors = 0;
  std::uint64_t nanoseconds = 0;   ///< of all of them together
  std::uint64_t max = 0;           ///< nanoseconds
  std::vector<LatencyStep> steps;  ///< from the fastest on

  /// The latency that `part` (0 to 1) of all requests did not exceed, by the steps; 0 when there were none.
  [[nodiscard]] std::uint64_t percentile(double part) const;
  /// The same steps by powers of two, without gaps, from the first to the last that has requests. Nothing is below
  /// `least`: what was faster is in its step. `least`: a power of two.
  [[nodiscard]] std::vector<LatencyStep> by_powers(std::uint64_t least = 2) const;
};

/// The member "requests" of the answer to query-penstock-histogram, taken apart.
/// Errors: EPROTO for an answer of another shape.
[[nodiscard]] Result<std::vector<RequestFacts>> request_facts(const Json& answer);

/// The way back: the value of "requests".
[[nodiscard]] Json to_json(const std::vector<RequestFacts>& kinds);

/// What `penstock status --histogram` shows: a line of numbers for each kind, and below it a bar for each power of two.
/// `columns`: how wide; `unicode`: bars of blocks.
[[nodiscard]] std::string describe_latencies(const std::vector<RequestFacts>& kinds, unsigned columns, bool unicode);

}  // namespace penstock::cli
