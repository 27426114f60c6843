// SPDX-License-Identifier: Apache-2.0
/// Telling the service manager how the mount is doing. Source: sd_notify(3), systemd.service(5) "Type=notify".
#pragma once

#include <penstock/error.hpp>

#include "base/descriptor.hpp"

#include "control/socket.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace penstock::cli {

/// The socket that NOTIFY_SOCKET names: a path, or "@name" in the abstract namespace. Threads: any.
class NotifySocket {
 public:
  /// Nothing when the variable is not set, or nobody listens there. Errors: EINVAL for a name that is neither.
  [[nodiscard]] static Result<std::optional<NotifySocket>> from(const char* name);
  /// One datagram of "NAME=value" lines. Errors: those of send(2).
  [[nodiscard]] Result<> send(std::string_view lines) const;

 private:
  explicit NotifySocket(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

  Descriptor descriptor_;
};

/// How often the manager wants to hear from this process; nothing: never. Source: sd_watchdog_enabled(3).
[[nodiscard]] std::optional<std::chrono::microseconds> watchdog_period(const char* microseconds, const char* process,
                                                                       int own_process);

/// What a service's life looks like to its manager: ready, then a line of status now and then (and a sign of life, when
/// that is asked for, as long as the view and its daemon do answer), then stopping.
class ServiceNotice {
 public:
  /// From the environment; says nothing, ever, where no manager listens, or when this process is not the `service`.
  /// Errors: a NOTIFY_SOCKET that makes no sense.
  [[nodiscard]] static Result<ServiceNotice> from_environment(bool service);

  /// `view` answers; `about` is the first status.
  void ready(const std::string& view, std::string_view about);
  /// The image is unmounted, and about to be flushed and closed.
  void stopping();

 private:
  explicit ServiceNotice(std::optional<NotifySocket> socket) : socket_(std::move(socket)) {}
  void keep_telling(const std::stop_token& stop, const std::string& view);

  std::optional<NotifySocket> socket_;
  std::optional<std::chrono::microseconds> watchdog_;
  std::jthread teller_;
};

}  // namespace penstock::cli
