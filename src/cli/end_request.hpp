// SPDX-License-Identifier: Apache-2.0
/// Waiting that ^C ends in order.
#pragma once

#include "control/socket.hpp"

#include <chrono>
#include <csignal>

namespace penstock::cli {

/// While this lives, SIGINT, SIGTERM and SIGHUP ask the command to end, and SIGWINCH wakes it. Whoever asks a second
/// time is not made to wait for a daemon that hangs: the process ends at once. One at a time.
class EndRequest {
 public:
  /// `last_words` runs before such an end, as a signal handler.
  explicit EndRequest(void (*last_words)() = nullptr);
  EndRequest(const EndRequest&) = delete;
  EndRequest& operator=(const EndRequest&) = delete;
  ~EndRequest();

  [[nodiscard]] bool asked() const noexcept;

  enum class Woken { time, end, resize, input };
  /// Until the time has passed, or one of the signals came, or `descriptor` can be read.
  [[nodiscard]] Woken wait(std::chrono::milliseconds time, int descriptor = -1);

 private:
  Descriptor wake_;  ///< eventfd(2), written by the handlers
  struct sigaction old_int_{};
  struct sigaction old_term_{};
  struct sigaction old_hup_{};
  struct sigaction old_winch_{};
};

}  // namespace penstock::cli
