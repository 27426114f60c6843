// SPDX-License-Identifier: Apache-2.0
/// A process beside the daemon that can reach its mount: the daemon may have given up the right to, and who waits for
/// his own file system cannot be killed until somebody answers.
#pragma once

#include "fuse/first_look.hpp"
#include "fuse/mountpoint.hpp"

#include "base/mutex.hpp"

namespace penstock::fuse {

/// Forked before the image is opened, it never sees a byte of one. It takes the first look at the view; and it does
/// three things, with one mount, the first that it is told of: give the kernel the size of a file, write out what is
/// dirty in it, and unmount it. It ends with the daemon, whose end closes the socket between the two. Threads: start()
/// while the process has one; the rest any. Errors: EPIPE when the helper was killed.
class Unmounter {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Unmounter>> start();
  Unmounter(const Unmounter&) = delete;
  Unmounter& operator=(const Unmounter&) = delete;
  ~Unmounter();

  /// As FirstLook::prepare(). Once.
  [[nodiscard]] Result<std::unique_ptr<FirstLook>> prepare_first_look(const std::string& path);
  /// As fuse::unmount().
  [[nodiscard]] Result<> unmount(const MountEntry& mount, Unmount how);
  /// Writes out the pages of all mappings, and returns when the file system has taken them.
  void sync(const MountEntry& mount);
  /// As fuse::announce_size().
  [[nodiscard]] Result<> announce_size(const MountEntry& mount, const std::string& name, std::uint64_t size);

 private:
  Unmounter(int socket, int look_socket) : socket_(socket), look_socket_(look_socket) {}
  enum class Task : std::uint8_t { unmount_unless_busy, detach, sync, announce_size };
  struct Question;
  struct Answer;
  [[nodiscard]] Result<> ask(Task task, const MountEntry& mount, const std::string& name = {}, std::uint64_t size = 0);
  [[noreturn]] static void serve(int socket, int look_socket);

  Mutex mutex_;
  const int socket_ GUARDED_BY(mutex_);  ///< one question at a time
  int look_socket_;                      ///< until the first look has it
};

}  // namespace penstock::fuse
