// SPDX-License-Identifier: Apache-2.0
/// What a daemon says of its mount, as numbers: the answer to query-penstock, taken apart.
#pragma once

#include "cli/json_text.hpp"

#include <penstock/error.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock::cli {

/// The streaming job that runs, or that ran last. Bytes, and bytes per second.
struct JobFacts {
  std::string state;
  std::uint64_t length = 0;
  std::uint64_t offset = 0;
  std::uint64_t copied = 0;
  std::uint64_t zeroed = 0;
  std::uint64_t left = 0;
  std::uint64_t data = 0;       ///< that the image has itself
  std::uint64_t to_copy = 0;    ///< that it still has to get
  std::uint64_t speed_max = 0;  ///< 0: no limit
  double rate = 0;              ///< of what is copied
  std::uint64_t errors = 0;
  bool no_space = false;
  std::string error;
  std::string base;

  [[nodiscard]] bool ended() const { return state == "done" || state == "cancelled" || state == "failed"; }
  /// What all the data is that it will have then; more than `data` as long as the job is not done.
  [[nodiscard]] std::uint64_t data_in_the_end() const {
    return data + std::max<std::uint64_t>(to_copy, state != "done");
  }
  /// Below 0: not known.
  [[nodiscard]] double seconds_left() const;
  /// Why it does not go on at its pace: "paused", "waiting for room on the host" and the like; else empty.
  [[nodiscard]] std::string obstacle() const;
};

struct LatencyFacts {
  std::uint64_t p50 = 0;  ///< nanoseconds
  std::uint64_t p90 = 0;
  std::uint64_t p99 = 0;
  std::uint64_t max = 0;
};

/// Counters since the mount.
struct GuestFacts {
  std::uint64_t in_flight = 0;
  std::uint64_t reads = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t writes = 0;
  std::uint64_t write_bytes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t zeroes = 0;
  std::uint64_t errors = 0;
  LatencyFacts read_latency;
  LatencyFacts write_latency;
};

/// Bytes of the virtual disk, by what the top layer has of them.
struct ProvisionedFacts {
  std::uint64_t data = 0;
  std::uint64_t zero = 0;        ///< as zeroes of its own
  std::uint64_t missing = 0;     ///< must be fetched from below
  std::uint64_t known_zero = 0;  ///< nothing below either
  bool estimated = false;        ///< from a part of the disk
};

struct CopyOnReadFacts {
  bool enabled = false;
  std::uint64_t bytes = 0;
  std::uint64_t failures = 0;
};

struct LayerFacts {
  std::string filename;
  std::string format;
  std::uint64_t virtual_size = 0;
  std::uint64_t actual_size = 0;
};

struct StatusFacts {
  std::string image;
  std::string format;
  bool map = false;          ///< of a raw file, which needs none once it is complete (add-cow)
  std::uint64_t device = 0;  ///< of the image's file when it was mounted
  std::uint64_t inode = 0;
  std::string mountpoint;
  std::string view;
  std::uint64_t virtual_size = 0;
  std::uint64_t actual_size = 0;
  bool read_only = false;
  bool resizable = false;
  std::string discard;
  std::string detect_zeroes;
  std::uint64_t pid = 0;
  std::uint64_t threads = 0;
  std::uint64_t cache_bytes = 0;
  std::uint64_t cache_bytes_max = 0;
  std::string control;
  std::vector<LayerFacts> layers;  ///< from the top down
  std::optional<JobFacts> job;
  std::optional<GuestFacts> guest;
  std::optional<ProvisionedFacts> provisioned;
  std::optional<CopyOnReadFacts> copy_on_read;
  bool finalised = false;  ///< the top had a backing file when it was mounted, and has none now
};

/// What the answer lacks stays as it is above. Texts are made fit for a terminal: names come from images.
/// Errors: EPROTO for a value of another kind than expected.
[[nodiscard]] Result<StatusFacts> status_facts(const Json& status);

/// The same of its member "stream"; null is no job.
[[nodiscard]] Result<std::optional<JobFacts>> job_facts(const Json& stream);

}  // namespace penstock::cli
