// SPDX-License-Identifier: Apache-2.0
#include "fuse/first_look.hpp"

#include "base/text.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

namespace penstock::fuse {

namespace {

/// How many bytes have come; 0: the other side has ended.
std::size_t receive(int socket, void* room, std::size_t bytes) noexcept {
  ssize_t got = 0;
  while ((got = recv(socket, room, bytes, 0)) < 0 && errno == EINTR) continue;
  return got < 0 ? 0 : static_cast<std::size_t>(got);
}

}  // namespace

Result<std::unique_ptr<FirstLook>> FirstLook::prepare(Descriptor socket, const std::string& path) {
  std::unique_ptr<FirstLook> out(new FirstLook(std::move(socket), path));
  if (send(out->socket_.get(), path.c_str(), path.size() + 1, MSG_NOSIGNAL) < 0) {
    return system_failure("cannot tell the helper process of the mount what to look at");
  }
  return out;
}

Result<> FirstLook::take() {
  int number = 0;
  if (send(socket_.get(), "l", 1, MSG_NOSIGNAL) != 1 ||
      receive(socket_.get(), &number, sizeof number) != sizeof number) {
    number = EIO;  // it was killed
  }
  // Permissions may keep even its owner out; then the kernel has answered, but the daemon had to be asked before.
  if (number == 0 || number == EACCES) return {};
  return system_failure(concat("the view ", path_, " cannot be read"), number);
}

void look_when_told(int socket) noexcept {
  std::array<char, 2 * PATH_MAX> path{};
  char word = 0;
  if (receive(socket, path.data(), path.size() - 1) != 0 && receive(socket, &word, 1) == 1) {
    struct stat attributes{};
    const int number = stat(path.data(), &attributes) == 0 ? 0 : errno;
    static_cast<void>(send(socket, &number, sizeof number, MSG_NOSIGNAL));
  }
  close(socket);
}

}  // namespace penstock::fuse
