// SPDX-License-Identifier: Apache-2.0
/// A process beside the daemon, for what a process that serves a mount must not do itself.
#pragma once

#include <penstock/error.hpp>

#include <initializer_list>
#include <string_view>

#include <sys/types.h>

namespace penstock::fuse {

struct Child {
  pid_t process = -1;
  int socket = -1;  ///< to it: of whole messages; the caller closes it
};

/// Forks; the child calls `serve` with its end of the socket. The calling thread must be the only one. `purpose`, in
/// the error: "cannot start a process to ...".
[[nodiscard]] Result<Child> start_child(std::string_view purpose, void (*serve)(int socket, const void* argument),
                                        const void* argument = nullptr);

/// In the child. Whoever waits for the end of a pipe, a lock or a mount of the daemon's must not wait for it.
/// `sockets`: in ascending order.
void let_go_of_everything_but(std::initializer_list<int> sockets);

}  // namespace penstock::fuse
