// SPDX-License-Identifier: Apache-2.0
/// Going into the background, so that the caller learns how that went.
#pragma once

#include <penstock/error.hpp>

#include <functional>
#include <optional>
#include <vector>

namespace penstock::fuse {

/// States: made -> detach(): the parent waits, the child works -> ready() in the child: the parent ends with 0, the
/// child has left its terminal. A child that ends before is reported by its own error line and exit status. Threads:
/// detach() while the process has one; ready() on any, once.
class Daemon {
 public:
  /// What is open now is the caller's.
  Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon();

  /// Forks. In the parent: calls `meanwhile`, waits and ends when the child is ready, else gives the exit status. In
  /// the child: gives nothing.
  [[nodiscard]] Result<std::optional<int>> detach(const std::function<void()>& meanwhile);
  /// In the child: the parent is told, then standard streams and inherited files go, the working directory becomes "/",
  /// and log lines go to syslog(3). False: the parent is gone, told to end by somebody who believes that nothing is
  /// left behind; so is the child to end.
  [[nodiscard]] bool ready();

 private:
  int to_parent_ = -1;
  int null_ = -1;  ///< /dev/null: when the daemon is ready there may be no descriptor left
  std::vector<int> inherited_;
};

}  // namespace penstock::fuse
