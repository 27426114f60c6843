// SPDX-License-Identifier: Apache-2.0
/// A process beside the daemon that can reach its mount: the daemon may have given up the right to, and who waits for
/// his own file system cannot be killed until somebody answers.
#pragma once

#include "fuse/first_look.hpp"
#include "fuse/mountpoint.hpp"

#include "base/descriptor.hpp"
#include "base/mutex.hpp"

#include <array>
#include <utility>

namespace penstock::fuse {

/// Forked before the image is opened, it never sees a byte of one. It takes the first look at the view; and it does
/// three things, with one mount, the first that it is told of: give the kernel the size of a file, write out what is
/// dirty in it, and unmount it. It ends with the daemon, whose end closes the socket between the two. Threads: start()
/// while the process has one; the rest any. Errors: EPIPE when the helper was killed; ETIMEDOUT when it has
/// not answered within 5 s.
///
/// States: made -> start(), or left_to_another() where start() is the business of another process, which was forked
/// meanwhile and waits anyway -> prepare_first_look(), which knows whether there is one.
class Unmounter {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Unmounter>> make();
  Unmounter(const Unmounter&) = delete;
  Unmounter& operator=(const Unmounter&) = delete;

  /// Forks the helper. That there is none is told to whoever has the other ends of the sockets: prepare_first_look().
  void start() noexcept;
  void left_to_another() noexcept;

  /// As FirstLook::prepare(). Once. Errors: there is no helper.
  [[nodiscard]] Result<std::unique_ptr<FirstLook>> prepare_first_look(const std::string& path);
  /// As fuse::unmount().
  [[nodiscard]] Result<> unmount(const MountEntry& mount, Unmount how);
  /// Writes out the pages of all mappings, and returns when the file system has taken them.
  void sync(const MountEntry& mount);
  /// As fuse::announce_size().
  [[nodiscard]] Result<> announce_size(const MountEntry& mount, const std::string& name, std::uint64_t size);

 private:
  using Pair = std::array<Descriptor, 2>;  ///< ours, the helper's
  Unmounter(Pair sockets, Pair look_sockets)
      : socket_(std::move(sockets[0])),
        look_socket_(std::move(look_sockets[0])),
        their_socket_(std::move(sockets[1])),
        their_look_socket_(std::move(look_sockets[1])) {}
  enum class Task : std::uint8_t { unmount_unless_busy, detach, sync, announce_size };
  struct Question;
  struct Answer;
  [[nodiscard]] Result<> ask(Task task, const MountEntry& mount, const std::string& name = {}, std::uint64_t size = 0);
  /// The next answer; the first comes by itself when the helper is there.
  [[nodiscard]] Result<> hear(std::uint64_t question) REQUIRES(mutex_);
  [[noreturn]] static void serve(int socket, int look_socket);
  static void answer(int socket, std::uint64_t question, const Result<>& done);
  [[nodiscard]] static Result<> do_task(const Question& question, const MountEntry& mount);

  Mutex mutex_;
  const Descriptor socket_ GUARDED_BY(mutex_);  ///< one question at a time
  std::uint64_t questions_ GUARDED_BY(mutex_) = 0;
  Descriptor look_socket_;   ///< until the first look has it
  Descriptor their_socket_;  ///< the helper's ends, until it is started
  Descriptor their_look_socket_;
};

}  // namespace penstock::fuse
