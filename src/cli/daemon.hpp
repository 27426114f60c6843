// SPDX-License-Identifier: Apache-2.0
/// Reaching the daemon of a mount, and its streaming job.
#pragma once

#include "cli/status_facts.hpp"

#include "control/client.hpp"

#include <string>

namespace penstock::cli {

/// The name of every mount's streaming job, and of the device that it is for, in QMP.
inline constexpr const char* kJobDevice = "disk0";

/// The daemon that serves one mountpoint. Errors name the mountpoint. Threads: one at a time.
class Daemon {
 public:
  /// `place`: the mountpoint, a file in it, or the loop device on it.
  [[nodiscard]] static Result<Daemon> reach(const std::string& place);

  [[nodiscard]] const std::string& mountpoint() const noexcept { return mountpoint_; }
  /// Errors: EPIPE or ECONNRESET when the mount has gone.
  [[nodiscard]] Result<Json> execute(const std::string& command, const Json& arguments = Json::object());
  /// query-penstock
  [[nodiscard]] Result<StatusFacts> status();
  /// query-penstock-stream: the job alone, which costs the daemon little. None: none was started.
  [[nodiscard]] Result<std::optional<JobFacts>> job_facts();
  /// A command that is for the job.
  [[nodiscard]] Result<> job(const std::string& command, Json arguments = Json::object());

 private:
  Daemon(std::string mountpoint, control::Client client)
      : mountpoint_(std::move(mountpoint)), client_(std::move(client)) {}

  std::string mountpoint_;
  control::Client client_;
};

}  // namespace penstock::cli
