// SPDX-License-Identifier: Apache-2.0
/// Unix sockets in the user's private runtime directory.
#pragma once

#include <penstock/error.hpp>

#include "base/descriptor.hpp"

#include <string>

namespace penstock::control {

/// The directory for control sockets: /run/penstock for root, else $XDG_RUNTIME_DIR/penstock, else
/// /tmp/penstock-UID. Made with mode 0700 when missing. Errors: EPERM when somebody else owns it or may write to it.
[[nodiscard]] Result<std::string> runtime_directory();

struct ListeningSocket {
  Descriptor descriptor;  ///< non-blocking
  std::string path;       ///< absolute
};
/// Listens on a new socket `DIRECTORY/NAME.sock` and removes the sockets of dead daemons found beside it.
[[nodiscard]] Result<ListeningSocket> listen_on(const std::string& directory, const std::string& name);

[[nodiscard]] Result<Descriptor> connect_to(const std::string& path);

/// Whether the process at the other end runs as this user or as root. Source: unix(7), SO_PEERCRED.
[[nodiscard]] bool is_same_user(int socket);

}  // namespace penstock::control
