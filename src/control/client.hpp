// SPDX-License-Identifier: Apache-2.0
/// Talking to a daemon: what `umount` and `status` use.
#pragma once

#include "control/protocol.hpp"
#include "control/socket.hpp"

#include <chrono>
#include <optional>
#include <string>

namespace penstock::control {

/// The control socket of the view at `mountpoint` (or of a file in it), from its attribute user.penstock.control.
/// Errors: EINVAL when no penstock view is there.
[[nodiscard]] Result<std::string> find_control_socket(const std::string& mountpoint);

/// One connection. Threads: one at a time.
class Client {
 public:
  /// Connects, reads the greeting and negotiates. Errors: ECONNREFUSED and ENOENT when the daemon is gone.
  [[nodiscard]] static Result<Client> connect(const std::string& socket_path);

  /// From now on no answer is waited for any longer: ETIMEDOUT, and the connection is of no use any more. Unset: for
  /// ever.
  void set_deadline(std::optional<std::chrono::steady_clock::time_point> deadline) { deadline_ = deadline; }
  /// Sends a command and waits for its answer, however long that takes; events are skipped.
  /// Errors: EREMOTEIO with the daemon's own words; EPIPE when it went away without an answer.
  [[nodiscard]] Result<Json> execute(const std::string& command, const Json& arguments);
  /// Without arguments.
  [[nodiscard]] Result<Json> execute(const std::string& command);

 private:
  explicit Client(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
  [[nodiscard]] Result<Json> receive();
  [[nodiscard]] Result<> wait_for_input() const;

  Descriptor descriptor_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  Framer framer_{16U << 20U};
};

}  // namespace penstock::control
