// SPDX-License-Identifier: Apache-2.0
#include "fuse/unmounter.hpp"

#include "base/ending_signals.hpp"
#include "base/text.hpp"
#include "base/thread_room.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

namespace penstock::fuse {

namespace {

/// What the helper is asked is done at once, or waits for a request that waits for a layer.
constexpr std::chrono::seconds kPatience{5};

}  // namespace

struct Unmounter::Question {
  std::uint64_t number = 0;
  std::uint64_t id = 0;
  std::array<char, 32> device{};
  Task task = Task::sync;
  // Of the file whose size is to be announced.
  std::uint64_t size = 0;
  std::array<char, 256> name{};
};

struct Unmounter::Answer {
  std::uint64_t question = 0;
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

/// A pair of connected ends, of whole messages.
Result<std::array<Descriptor, 2>> make_sockets() {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return system_failure("cannot make a socket");
  return std::array{Descriptor(ends[0]), Descriptor(ends[1])};
}

/// Whoever waits for the end of a pipe, a lock or a mount of the daemon's must not wait for this process. `sockets`: in
/// ascending order.
void let_go_of_everything_but(std::array<int, 2> sockets) {
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

}  // namespace

Result<std::unique_ptr<Unmounter>> Unmounter::make() {
  auto sockets = TRY(make_sockets());
  return std::unique_ptr<Unmounter>(new Unmounter(std::move(sockets), TRY(make_sockets())));
}

void Unmounter::start() noexcept {
  const pid_t process = fork();
  if (process == 0) serve(their_socket_.get(), their_look_socket_.get());
  if (process < 0) {
    answer(their_socket_.get(), 0, system_failure("cannot start a process to unmount with"));
  }
  left_to_another();
}

void Unmounter::left_to_another() noexcept {
  their_socket_.reset();
  their_look_socket_.reset();
}

Result<std::unique_ptr<FirstLook>> Unmounter::prepare_first_look(const std::string& path) {
  {
    const MutexLock lock(mutex_);
    TRY(hear(0));
  }
  return FirstLook::prepare(std::move(look_socket_), path);
}

void Unmounter::serve(int socket, int look_socket) {
  prctl(PR_SET_NAME, "penstock-umount");
  // Who ends what the terminal has started does not mean it.
  setsid();
  // The daemon decides what they mean.
  for (const int number : kEndingSignals) static_cast<void>(std::signal(number, SIG_IGN));
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  let_go_of_everything_but({std::min(socket, look_socket), std::max(socket, look_socket)});
  // By a thread of its own, which may wait for an answer for long: the mount can be ended meanwhile.
  if (!or_no_thread([look_socket] { std::thread(look_when_told, look_socket).detach(); })) close(look_socket);
  answer(socket, 0, {});
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
    if (only->id != mount.id || only->device != mount.device) {
      answer(socket, question.number, fail(EPERM, "another mount than the one that was told first"));
      continue;
    }
    const auto work = [socket, question, mount] { answer(socket, question.number, do_task(question, mount)); };
    // Each by a thread of its own: what waits for a layer that does not answer must not be in the way of the next.
    if (!or_no_thread([&work] { std::thread(work).detach(); })) work();
  }
}

Result<> Unmounter::do_task(const Question& question, const MountEntry& mount) {
  switch (question.task) {
    case Task::sync:
      sync_mount(mount);
      return {};
    case Task::announce_size:
      return fuse::announce_size(mount, question.name.data(), question.size);
    case Task::detach:
      return fuse::unmount(mount, fuse::Unmount::detach);
    case Task::unmount_unless_busy:
      break;
  }
  return fuse::unmount(mount, fuse::Unmount::unless_busy);
}

void Unmounter::answer(int socket, std::uint64_t question, const Result<>& done) {
  Answer answer;
  answer.question = question;
  if (!done) {
    answer.number = done.error().number();
    put(answer.message, done.error().message());
  }
  static_cast<void>(send(socket, &answer, sizeof answer, MSG_NOSIGNAL));
}

Result<> Unmounter::ask(Task task, const MountEntry& mount, const std::string& name, std::uint64_t size) {
  Question question{.id = mount.id, .task = task, .size = size};
  put(question.name, name);
  put(question.device, mount.device);
  const MutexLock lock(mutex_);
  question.number = ++questions_;
  static_cast<void>(send(socket_.get(), &question, sizeof question, MSG_NOSIGNAL));
  return hear(question.number);
}

Result<> Unmounter::hear(std::uint64_t question) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  Answer answer;
  ssize_t got = 0;
  do {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(give_up - std::chrono::steady_clock::now());
    pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    const int ready = left.count() <= 0 ? 0 : poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready == 0) {
      return fail(ETIMEDOUT, concat("not done within ", kPatience.count(),
                                    " s: the kernel waits for a request that waits for a layer"));
    }
    got = ready < 0 ? ready : recv(socket_.get(), &answer, sizeof answer, 0);
    // An answer that came too late is to another question.
  } while ((got < 0 && errno == EINTR) || (got == static_cast<ssize_t>(sizeof answer) && answer.question != question));
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
