// SPDX-License-Identifier: Apache-2.0
/// What `penstock status` prints: one screen of text.
#pragma once

#include "cli/status_facts.hpp"

namespace penstock::cli {

/// "1200 in 4.69 MiB, p50 90 us, ..." and so on, a line a fact, each with its name in front.
[[nodiscard]] std::string describe(const StatusFacts& facts);

// Pieces that the live screen shows too; each one line without its end.

/// "running, 25.0 %, 100 MiB/s, 31s left"
[[nodiscard]] std::string describe_job(const JobFacts& job);
/// "3 GiB provisioned, 512 MiB zero, 512 MiB left"
[[nodiscard]] std::string describe_amounts(const ProvisionedFacts& amounts);
/// "p50 90 us, p90 120 us, p99 1.24 ms, max 5 ms"
[[nodiscard]] std::string describe_latency(const LatencyFacts& latency);
/// "100 MiB/s"
[[nodiscard]] std::string human_rate(double bytes_per_second);

}  // namespace penstock::cli
