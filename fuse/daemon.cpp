// SPDX-License-Identifier: Apache-2.0
#include "fuse/daemon.hpp"

#include "base/ending_signals.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

namespace penstock::fuse {

namespace {

/// Files that the caller left open for us, beyond the standard streams: whoever waits for their end (a pipe, a lock)
/// must not wait for the unmount.
std::vector<int> open_files() {
  std::vector<int> out;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir("/proc/self/fd"), closedir);
  if (!entries) return out;
  while (const dirent* entry = readdir(entries.get())) {
    const int number = std::atoi(entry->d_name);
    if (number > STDERR_FILENO && number != dirfd(entries.get())) out.push_back(number);
  }
  return out;
}

volatile pid_t waited_for = 0;
volatile std::sig_atomic_t forwarded_signal = 0;

/// Whoever interrupts the waiting parent means the child, which is in a session of its own.
void forward_signals_to(pid_t child) {
  waited_for = child;
  struct sigaction action{};
  action.sa_handler = [](int number) {
    forwarded_signal = number;
    kill(waited_for, SIGTERM);
  };
  for (const int number : kEndingSignals) sigaction(number, &action, nullptr);
}

int exit_status_of(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return EXIT_FAILURE;
  }
  if (WIFSIGNALED(status) && forwarded_signal == 0) {
    log_line(LogLevel::error, concat("the daemon died of signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)),
                                     ") before the view could be read"));
    return EXIT_FAILURE;
  }
  // Ended well without having been ready: unmounted by somebody at once.
  return WEXITSTATUS(status);
}

}  // namespace

Daemon::Daemon() : inherited_(open_files()) {}

Daemon::~Daemon() {
  if (to_parent_ >= 0) close(to_parent_);
  if (null_ >= 0) close(null_);
}

Result<std::optional<int>> Daemon::detach(const std::function<void()>& meanwhile) {
  null_ = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null_ < 0) return system_failure("/dev/null");
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return system_failure("cannot make a pipe");
  // From the fork on until they are handed on: whoever interrupts the parent means the child, too.
  sigset_t before{};
  const sigset_t interruptions = ending_signals();
  sigprocmask(SIG_BLOCK, &interruptions, &before);
  const pid_t child = fork();
  if (child < 0) {
    const auto problem = system_failure("cannot go into the background");
    sigprocmask(SIG_SETMASK, &before, nullptr);
    close(ends[0]);
    close(ends[1]);
    return problem;
  }
  if (child == 0) {
    sigprocmask(SIG_SETMASK, &before, nullptr);
    close(ends[0]);
    to_parent_ = ends[1];
    // Not for fusermount3 either, which stays while auto_unmount is on.
    for (const int file : inherited_) fcntl(file, F_SETFD, FD_CLOEXEC);
    setsid();
    return std::nullopt;
  }
  close(ends[1]);
  meanwhile();
  forward_signals_to(child);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  char word = 0;
  ssize_t got = 0;
  while ((got = read(ends[0], &word, 1)) < 0 && errno == EINTR) continue;
  close(ends[0]);
  if (forwarded_signal != 0) {
    // It unmounts what it may have mounted by then.
    static_cast<void>(exit_status_of(child));
    return 128 + forwarded_signal;
  }
  // Who waits for this process has waited long enough: nothing of it is left to be put in order.
  if (got == 1) _exit(EXIT_SUCCESS);
  return exit_status_of(child);
}

bool Daemon::ready() {
  if (to_parent_ < 0) return true;
  log_to_syslog();
  // Whoever reads our output to its end must not wait for the unmount.
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null_, stream);
  close(std::exchange(null_, -1));
  for (const int file : inherited_) close(file);
  // The daemon must not keep another file system busy.
  static_cast<void>(!chdir("/"));
  const bool told = write(to_parent_, "r", 1) == 1;
  close(to_parent_);
  to_parent_ = -1;
  return told;
}

}  // namespace penstock::fuse
