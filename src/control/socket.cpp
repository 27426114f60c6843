// SPDX-License-Identifier: Apache-2.0
#include "control/socket.hpp"

#include "base/text.hpp"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

namespace penstock::control {

namespace {

constexpr std::string_view kSuffix = ".sock";

Result<> make_private_directory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return system_failure(concat("cannot make ", path));
  struct stat attributes{};
  if (lstat(path.c_str(), &attributes) != 0) return system_failure(path);
  constexpr mode_t kOthers = S_IWGRP | S_IWOTH;
  if (!S_ISDIR(attributes.st_mode) || attributes.st_uid != geteuid() || (attributes.st_mode & kOthers) != 0) {
    return fail(EPERM, concat(path, ": is not a directory of this user alone; remove it",
                              geteuid() == 0 ? "" : " or set XDG_RUNTIME_DIR"));
  }
  return {};
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(ENAMETOOLONG, concat(path, ": too long for a socket's name"));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

/// A socket that refuses connections belongs to a daemon that was killed. `probe` is of another type than the daemons'
/// sockets, so that one that lives is told from the type alone (EPROTOTYPE) and need not wake up. Source: connect(2).
bool is_dead(const std::string& path, const Descriptor& probe) {
  const auto address = address_of(path);
  if (!address) return false;
  const auto* generic = reinterpret_cast<const sockaddr*>(&*address);
  return connect(probe.get(), generic, sizeof *address) != 0 && errno == ECONNREFUSED;
}

void remove_dead_sockets(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()), closedir);
  const Descriptor probe(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!entries || !probe) return;
  std::vector<std::string> dead;
  while (const dirent* entry = readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (!name.ends_with(kSuffix)) continue;
    const std::string path = concat(directory, "/", name);
    if (is_dead(path, probe)) dead.push_back(path);
  }
  for (const std::string& path : dead) unlink(path.c_str());
}

}  // namespace

Result<std::string> runtime_directory() {
  constexpr std::size_t kNameMax = 40;  // "/penstock/" and the name of a socket
  std::string path;
  if (geteuid() == 0) {
    path = "/run/penstock";
  } else if (const char* given = std::getenv("XDG_RUNTIME_DIR");
             given != nullptr && given[0] == '/' && std::strlen(given) + kNameMax < sizeof(sockaddr_un::sun_path) &&
             access(given, W_OK) == 0) {
    path = concat(given, "/penstock");
  } else {
    path = concat("/tmp/penstock-", geteuid());
  }
  TRY(make_private_directory(path));
  return path;
}

Result<ListeningSocket> listen_on(const std::string& directory, const std::string& name) {
  remove_dead_sockets(directory);
  ListeningSocket out{Descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
                      concat(directory, "/", name, kSuffix)};
  if (!out.descriptor) return system_failure("cannot make a control socket");
  // Under its final name the socket answers from the first moment, so that nobody takes it for a dead one.
  const std::string before = concat(directory, "/", name, ".new");
  unlink(before.c_str());
  const sockaddr_un address = TRY(address_of(before));
  TRY(address_of(out.path));
  if (bind(out.descriptor.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return system_failure(concat("cannot make the control socket ", before));
  }
  if (chmod(before.c_str(), 0600) != 0 || listen(out.descriptor.get(), 16) != 0 ||
      rename(before.c_str(), out.path.c_str()) != 0) {
    const int number = errno;
    unlink(before.c_str());
    return system_failure(concat("cannot set up the control socket ", out.path), number);
  }
  return out;
}

Result<Descriptor> connect_to(const std::string& path) {
  const sockaddr_un address = TRY(address_of(path));
  Descriptor out(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!out) return system_failure("cannot make a socket");
  if (connect(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return system_failure(path);
  return out;
}

bool is_same_user(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return false;
  return peer.uid == geteuid() || peer.uid == 0;
}

}  // namespace penstock::control
