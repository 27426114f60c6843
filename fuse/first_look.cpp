// SPDX-License-Identifier: Apache-2.0
#include "fuse/first_look.hpp"

#include "base/text.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace penstock::fuse {

Result<std::unique_ptr<FirstLook>> FirstLook::prepare(const std::string& path) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return system_failure("cannot make a socket");
  const pid_t child = fork();
  if (child < 0) {
    const auto problem = system_failure("cannot start a process to look at the view");
    close(ends[0]);
    close(ends[1]);
    return problem;
  }
  if (child == 0) look(path.c_str(), ends[1]);
  close(ends[1]);
  return std::unique_ptr<FirstLook>(new FirstLook(ends[0], child, path));
}

void FirstLook::look(const char* path, int socket) {
  // Nobody may wait for the end of a lock or a pipe of the daemon's because of us.
  constexpr int kSocket = 0;
  dup2(socket, kSocket);
  close_range(kSocket + 1, ~0U, 0);
  static_cast<void>(!chdir("/"));
  char word = 0;
  ssize_t got = 0;
  while ((got = recv(kSocket, &word, 1, 0)) < 0 && errno == EINTR) continue;
  if (got != 1) _exit(0);
  struct stat attributes{};
  const int number = stat(path, &attributes) == 0 ? 0 : errno;
  static_cast<void>(send(kSocket, &number, sizeof number, MSG_NOSIGNAL));
  _exit(0);
}

FirstLook::~FirstLook() {
  close(socket_);
  while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) continue;
}

Result<> FirstLook::take() {
  int number = EIO;  // it was killed
  if (send(socket_, "l", 1, MSG_NOSIGNAL) == 1) {
    while (recv(socket_, &number, sizeof number, 0) < 0 && errno == EINTR) continue;
  }
  // Permissions may keep even its owner out; then the kernel has answered, but the daemon had to be asked before.
  if (number == 0 || number == EACCES) return {};
  return system_failure(concat("the view ", path_, " cannot be read"), number);
}

}  // namespace penstock::fuse
