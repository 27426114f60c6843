// SPDX-License-Identifier: Apache-2.0
#include "fuse/first_look.hpp"

#include "base/text.hpp"
#include "fuse/child.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace penstock::fuse {

Result<std::unique_ptr<FirstLook>> FirstLook::prepare(const std::string& path) {
  const Child child = TRY(start_child(
      "look at the view",
      [](int socket, const void* where) { look(static_cast<const std::string*>(where)->c_str(), socket); }, &path));
  return std::unique_ptr<FirstLook>(new FirstLook(child.socket, child.process, path));
}

void FirstLook::look(const char* path, int socket) {
  let_go_of_everything_but(socket);
  char word = 0;
  ssize_t got = 0;
  while ((got = recv(socket, &word, 1, 0)) < 0 && errno == EINTR) continue;
  if (got != 1) _exit(0);
  struct stat attributes{};
  const int number = stat(path, &attributes) == 0 ? 0 : errno;
  static_cast<void>(send(socket, &number, sizeof number, MSG_NOSIGNAL));
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
