// SPDX-License-Identifier: Apache-2.0
#include "fuse/unmounter.hpp"

#include "base/ending_signals.hpp"
#include "base/text.hpp"
#include "base/thread_room.hpp"
#include "fuse/child.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

namespace penstock::fuse {

struct Unmounter::Question {
  std::uint64_t id = 0;
  std::array<char, 32> device{};
  Task task = Task::sync;
  // Of the file whose size is to be announced.
  std::uint64_t size = 0;
  std::array<char, 256> name{};
};

struct Unmounter::Answer {
  int number = 0;  // errno, 0: done
  std::array<char, 1000> message{};
};

namespace {

template <std::size_t N>
void put(std::array<char, N>& field, std::string_view text) {
  std::memcpy(field.data(), text.data(), std::min(text.size(), N - 1));
}

void sync_mount(const MountEntry& mount) {
  const auto now = find_again(read_mounts(), mount);
  const int root = now ? open(now->path.c_str(), O_RDONLY | O_CLOEXEC) : -1;
  if (root < 0) return;
  syncfs(root);
  close(root);
}

}  // namespace

Result<std::unique_ptr<Unmounter>> Unmounter::start() {
  std::array<int, 2> look{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, look.data()) != 0)
    return system_failure("cannot make a socket");
  const auto child = start_child(
      "unmount with", [](int socket, const void* theirs) { serve(socket, *static_cast<const int*>(theirs)); },
      &look[1]);
  close(look[1]);
  if (!child) {
    close(look[0]);
    return Failure(child.error());
  }
  return std::unique_ptr<Unmounter>(new Unmounter(child->socket, look[0]));
}

Unmounter::~Unmounter() {
  close(socket_);
  if (look_socket_ >= 0) close(look_socket_);
}

Result<std::unique_ptr<FirstLook>> Unmounter::prepare_first_look(const std::string& path) {
  return FirstLook::prepare(std::exchange(look_socket_, -1), path);
}

void Unmounter::serve(int socket, int look_socket) {
  prctl(PR_SET_NAME, "penstock-umount");
  // The daemon decides what they mean.
  for (const int number : kEndingSignals) static_cast<void>(std::signal(number, SIG_IGN));
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  let_go_of_everything_but({std::min(socket, look_socket), std::max(socket, look_socket)});
  // By a thread of its own, which may wait for an answer for long: the mount can be ended meanwhile.
  if (!or_no_thread([look_socket] { std::thread(look_when_told, look_socket).detach(); })) close(look_socket);
  std::optional<MountEntry> only;
  for (;;) {
    Question question;
    const ssize_t got = recv(socket, &question, sizeof question, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got != static_cast<ssize_t>(sizeof question)) _exit(0);
    question.device.back() = '\0';
    question.name.back() = '\0';
    const MountEntry mount{.id = question.id, .path = {}, .device = question.device.data()};
    if (!only) only = mount;
    Result<> done;
    if (only->id != mount.id || only->device != mount.device) {
      done = fail(EPERM, "another mount than the one that was told first");
    } else if (question.task == Task::sync) {
      sync_mount(mount);
    } else if (question.task == Task::announce_size) {
      done = fuse::announce_size(mount, question.name.data(), question.size);
    } else {
      done = fuse::unmount(mount, question.task == Task::detach ? Unmount::detach : Unmount::unless_busy);
    }
    Answer answer;
    if (!done) {
      answer.number = done.error().number();
      put(answer.message, done.error().message());
    }
    static_cast<void>(send(socket, &answer, sizeof answer, MSG_NOSIGNAL));
  }
}

Result<> Unmounter::ask(Task task, const MountEntry& mount, const std::string& name, std::uint64_t size) {
  Question question{.id = mount.id, .task = task, .size = size};
  put(question.name, name);
  put(question.device, mount.device);
  Answer answer;
  const MutexLock lock(mutex_);
  ssize_t got = send(socket_, &question, sizeof question, MSG_NOSIGNAL);
  while (got > 0 && (got = recv(socket_, &answer, sizeof answer, 0)) < 0 && errno == EINTR) continue;
  if (got != static_cast<ssize_t>(sizeof answer))
    return fail(EPIPE, "cannot reach the mount: the helper that could was killed");
  answer.message.back() = '\0';
  if (answer.number != 0) return fail(answer.number, answer.message.data());
  return {};
}

Result<> Unmounter::unmount(const MountEntry& mount, Unmount how) {
  return ask(how == Unmount::detach ? Task::detach : Task::unmount_unless_busy, mount);
}

Result<> Unmounter::announce_size(const MountEntry& mount, const std::string& name, std::uint64_t size) {
  return ask(Task::announce_size, mount, name, size);
}

void Unmounter::sync(const MountEntry& mount) {
  static_cast<void>(ask(Task::sync, mount));
}

}  // namespace penstock::fuse
