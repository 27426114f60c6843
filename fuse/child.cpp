// SPDX-License-Identifier: Apache-2.0
#include "fuse/child.hpp"

#include "base/text.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace penstock::fuse {

Result<Child> start_child(std::string_view purpose, void (*serve)(int socket, const void* argument),
                          const void* argument) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return system_failure("cannot make a socket");
  const pid_t process = fork();
  if (process < 0) {
    const auto problem = system_failure(concat("cannot start a process to ", purpose));
    close(ends[0]);
    close(ends[1]);
    return problem;
  }
  if (process == 0) {
    serve(ends[1], argument);
    _exit(0);
  }
  close(ends[1]);
  return Child{.process = process, .socket = ends[0]};
}

void let_go_of_everything_but(std::initializer_list<int> sockets) {
  const int null = open("/dev/null", O_RDWR);
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, stream);
  auto first = static_cast<unsigned>(STDERR_FILENO) + 1;
  for (const int socket : sockets) {
    const auto own = static_cast<unsigned>(socket);
    if (own > first) close_range(first, own - 1, 0);
    first = own + 1;
  }
  close_range(first, ~0U, 0);
  static_cast<void>(!chdir("/"));
}

}  // namespace penstock::fuse
