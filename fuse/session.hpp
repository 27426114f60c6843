// SPDX-License-Identifier: Apache-2.0
/// A mounted libfuse session: from mount(2) to the last close of /dev/fuse.
#pragma once

#include "fuse/handshake.hpp"
#include "fuse/libfuse.hpp"
#include "fuse/mountpoint.hpp"
#include "fuse/operations.hpp"
#include "fuse/rings.hpp"
#include "fuse/unmounter.hpp"

#include <atomic>
#include <memory>
#include <span>
#include <string>

namespace penstock::fuse {

/// Where one thread's requests arrive and its answers are made; room is made when it is first used.
class ReceiveBuffer {
 public:
  ReceiveBuffer() = default;
  ReceiveBuffer(const ReceiveBuffer&) = delete;
  ReceiveBuffer& operator=(const ReceiveBuffer&) = delete;
  ~ReceiveBuffer();
  /// Empty when there is no memory.
  [[nodiscard]] std::span<std::byte> bytes() noexcept;
  /// Page-aligned: host storage opened with O_DIRECT needs no bounce buffer.
  [[nodiscard]] std::span<std::byte> answer(std::size_t size);

 private:
  std::byte* room_ = nullptr;
  std::byte* answer_room_ = nullptr;
  std::size_t answer_bytes_ = 0;
};

/// Told by Session::receive(), on its thread.
class Receiver {
 public:
  Receiver() = default;
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;
  /// Before each wait for a request: whether it is to wait for one more.
  [[nodiscard]] virtual bool receives_on() noexcept = 0;
  /// A request has come, and is about to be served.
  virtual void received() noexcept = 0;

 protected:
  ~Receiver() = default;
};

/// What is used of what only some kernels have.
struct Wishes {
  bool io_uring = false;
  unsigned ring_threads = 1;
  bool passthrough = false;
};

/// Threads: receive() on any number; everything else on one, while no receive() runs.
class Session {
 public:
  /// Mounts, and agrees with the kernel on how requests come. `system` and `helper`, which reaches the mount from now
  /// on, must live as long as the session.
  /// Errors: one line, with what libfuse or fusermount3 had to say.
  [[nodiscard]] static Result<std::unique_ptr<Session>> mount(FileSystem& system, const Mountpoint& mountpoint,
                                                              const MountOptions& options, const std::string& source,
                                                              bool read_only, const Wishes& wishes, Unmounter& helper);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  /// Unmounts what is still mounted and cuts off who still has files open.
  ~Session();

  [[nodiscard]] const MountEntry& mount_entry() const noexcept { return entry_; }
  /// After receive() has ended: whether the mount is still there though nobody can serve it (umount -f of a busy one).
  [[nodiscard]] bool left_dead_mount() const;
  /// The kernel has said that the file system is unmounted, everywhere.
  [[nodiscard]] bool is_gone() const noexcept { return gone_; }

  /// What carries most requests, when it is not /dev/fuse.
  [[nodiscard]] Rings* rings() const noexcept { return rings_.get(); }
  /// Why not, though it was wished and the kernel has it; empty: it is used, or was not wished.
  [[nodiscard]] const std::string& no_rings_because() const noexcept { return no_rings_because_; }
  [[nodiscard]] bool passes_through() const noexcept { return passes_through_; }
  /// The kernel's number for an open file that it is to read and write by itself. Needs CAP_SYS_ADMIN.
  [[nodiscard]] Result<int> share_file(int file) const;

  /// Serves requests until the file system is unmounted (false), `stopping` is set and a signal interrupts the wait, or
  /// `receiver` does not receive on. Errors: why the device cannot be read.
  [[nodiscard]] Result<bool> receive(ReceiveBuffer& buffer, const std::atomic<bool>& stopping, Receiver& receiver);
  /// As fuse::unmount(). Any thread.
  [[nodiscard]] Result<> unmount(Unmount how) const;
  /// Writes out pages that were changed through mappings, while the slots serve. Any thread.
  void sync() const;
  /// Has the kernel read ahead of sequential buffered readers by as much as one request can carry, where we may tell it
  /// so. The answer to its first request can only ask for less, so this comes after that.
  void read_further_ahead() const;
  /// As fuse::announce_size(). Any thread, while the slots serve.
  [[nodiscard]] Result<> announce_size(const std::string& name, std::uint64_t size) const;
  /// Unmounts lazily if need be.
  void leave();
  /// As leave(), and closes the device: everybody who waits for an answer gets an error.
  void end();

 private:
  Session(fuse_session* session, FileSystem& system, Unmounter& helper)
      : session_(session), system_(system), helper_(helper) {}
  [[nodiscard]] Result<> agree(const Wishes& wishes);

  fuse_session* session_;
  FileSystem& system_;
  Unmounter& helper_;
  int device_ = -1;
  Offer offer_;
  std::unique_ptr<Rings> rings_;
  std::string no_rings_because_;
  bool passes_through_ = false;
  MountEntry entry_;  ///< constant once mounted: any thread may be unmounting while end() runs
  bool ended_ = false;
  int read_ahead_ = -1;
  std::atomic<bool> gone_{false};  ///< the kernel said that the file system is unmounted
};

}  // namespace penstock::fuse
