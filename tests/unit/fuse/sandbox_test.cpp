// SPDX-License-Identifier: Apache-2.0
// What a process can and cannot do in the daemon's sandbox. Each test is a process of its own: nobody gets out again.
#include "fuse/sandbox.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

namespace penstock::fuse {
namespace {

constexpr int kCannotRun = 77;

/// The exit status of a process that does this.
int in_a_process(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool has(const std::string& in_force, std::string_view part) {
  return in_force.find(part) != std::string::npos;
}

/// The number of the first that does not hold, from 1; 0 when all do.
int first_broken(std::initializer_list<bool> claims) {
  int number = 0;
  for (const bool holds : claims) {
    ++number;
    if (!holds) return number;
  }
  return 0;
}

bool opens(const char* path, int flags) {
  const int file = open(path, flags | O_CLOEXEC, 0600);
  if (file >= 0) close(file);
  return file >= 0;
}

class Directory {
 public:
  Directory() { made_ = mkdtemp(path_) != nullptr; }
  ~Directory() {
    unlink(file("socket").c_str());
    unlink(file("other").c_str());
    rmdir(path_);
  }
  std::string file(const char* name) const { return std::string(path_) + "/" + name; }
  const char* path() const { return path_; }
  bool made() const { return made_; }

 private:
  char path_[32] = "/var/tmp/penstock-test-XXXXXX";
  bool made_ = false;
};

TEST(Sandbox, ProgramsMountsAndOtherProcessesAreOutOfReach) {
  const int broken = in_a_process([] {
    if (!has(enter_sandbox({.control_directory = "/nonexistent"}), "seccomp")) return kCannotRun;
    char* const arguments[] = {nullptr};
    return first_broken({
        execve("/bin/true", arguments, arguments) != 0 && errno == EPERM,
        mount("none", "/mnt", "tmpfs", 0, nullptr) != 0 && errno == EPERM,
        umount2("/proc", MNT_DETACH) != 0 && errno == EPERM,
        ptrace(PTRACE_ATTACH, getppid(), nullptr, nullptr) != 0 && errno == EPERM,
        kill(getppid(), 0) != 0 && errno == EPERM,
        unshare(CLONE_NEWUSER) != 0 && errno == EPERM,
        socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EACCES,
        setuid(1) != 0,
        chmod("/", 0777) != 0,
    });
  });
  if (broken == kCannotRun) GTEST_SKIP() << "no seccomp";
  EXPECT_EQ(broken, 0);
}

TEST(Sandbox, FilesAreOutOfReachButForThoseThatAreOpen) {
  const Directory directory;
  ASSERT_TRUE(directory.made());
  const int broken = in_a_process([&directory] {
    const int open_before = open(directory.file("other").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    close(open(directory.file("socket").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (!has(enter_sandbox({.control_directory = directory.path()}), "landlock")) return kCannotRun;
    return first_broken({
        !opens("/etc/passwd", O_RDONLY),
        !opens(directory.file("other").c_str(), O_RDONLY),
        !opens(directory.file("new").c_str(), O_WRONLY | O_CREAT),
        !opens("/dev/zero", O_RDONLY),
        write(open_before, "x", 1) == 1,
        ftruncate(open_before, 100) == 0,
        fallocate(open_before, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 50) == 0,
        fdatasync(open_before) == 0,
        opens("/proc/self/mountinfo", O_RDONLY),
        opens("/dev/null", O_RDWR),
        unlink(directory.file("socket").c_str()) == 0,
    });
  });
  if (broken == kCannotRun) GTEST_SKIP() << "no Landlock";
  EXPECT_EQ(broken, 0);
}

TEST(Sandbox, ThreadsAndSocketsOfTheMachineWorkOn) {
  const int broken = in_a_process([] {
    const auto in_force = enter_sandbox({.control_directory = "/nonexistent"});
    bool ran = false;
    std::thread([&ran] { ran = true; }).join();
    const int local = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return first_broken({!in_force.empty(), ran, local >= 0});
  });
  EXPECT_EQ(broken, 0);
}

TEST(Sandbox, TheNetworkIsThereForThoseWhoNeedIt) {
  const int broken = in_a_process([] {
    static_cast<void>(enter_sandbox({.control_directory = "/nonexistent", .network = true}));
    return first_broken({socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0, opens("/etc/hosts", O_RDONLY)});
  });
  EXPECT_EQ(broken, 0);
}

TEST(Sandbox, WhatIsShedBeforeOpeningHindersNoMount) {
  const int broken = in_a_process([] {
    shed_before_opening(false);
    become_io_flusher();
    const bool privileged = geteuid() == 0;
    return first_broken({
        opens("/etc/passwd", O_RDONLY),
        !privileged || (umount2("/nonexistent", 0) != 0 && errno == ENOENT),
        in_a_process([] {
          execl("/bin/true", "true", nullptr);
          return 1;
        }) == 0,
    });
  });
  EXPECT_EQ(broken, 0);
}

}  // namespace
}  // namespace penstock::fuse
