// SPDX-License-Identifier: Apache-2.0
/// Reaching the daemon of a mount, and its streaming job.
#pragma once

#include "cli/status_facts.hpp"
#include "cli/umount_steps.hpp"

#include "control/client.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace penstock::cli {

/// What a streaming job is started with; what is not given is as the daemon has it.
struct JobWish {
  std::optional<std::uint64_t> speed = {};  ///< bytes a second
  std::string base = {};                    ///< path of the layer that stays
  std::string on_error = {};
};

/// The daemon that serves one mountpoint. Errors name the mountpoint. Threads: one at a time.
class Daemon {
 public:
  /// `place`: the mountpoint, a file in it, or the loop device on it.
  [[nodiscard]] static Result<Daemon> reach(const std::string& place);

  [[nodiscard]] const std::string& mountpoint() const noexcept { return mountpoint_; }
  /// As control::Client::set_deadline().
  void set_deadline(std::chrono::steady_clock::time_point deadline) { client_.set_deadline(deadline); }
  // Errors of all: ETIMEDOUT, EPIPE or ECONNRESET when the mount has gone, EREMOTEIO when the daemon refuses, EPROTO.

  /// A question that takes no arguments: the whole answer.
  [[nodiscard]] Result<Json> query(const std::string& command);
  /// query-penstock
  [[nodiscard]] Result<StatusFacts> status();
  /// query-penstock-cells: one character for each of so many parts of the disk.
  [[nodiscard]] Result<std::string> cells(unsigned count);
  /// query-penstock-stream: the job alone, which costs the daemon little. None: none was started.
  [[nodiscard]] Result<std::optional<JobFacts>> job_facts();

  [[nodiscard]] Result<> start_job(const JobWish& wish = {});
  [[nodiscard]] Result<> pause_job();
  [[nodiscard]] Result<> resume_job();
  [[nodiscard]] Result<> cancel_job();
  /// Bytes a second, 0: no limit.
  [[nodiscard]] Result<> set_job_speed(std::uint64_t speed);

  /// Unmounts, and waits until the image is closed.
  [[nodiscard]] Result<Ending> quit();

 private:
  Daemon(std::string mountpoint, control::Client client)
      : mountpoint_(std::move(mountpoint)), client_(std::move(client)) {}

  [[nodiscard]] Result<Json> execute(const std::string& command, const Json& arguments);

  std::string mountpoint_;
  control::Client client_;
};

}  // namespace penstock::cli
