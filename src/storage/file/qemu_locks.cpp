// SPDX-License-Identifier: Apache-2.0
#include "storage/file/qemu_locks.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>

namespace penstock {

namespace {

// Byte kHeldBase + p is share-locked by each holder of permission p, byte kUnsharedBase + p by each that does not
// share it. Readers and writers lock in the same way: conflicts are found by looking, not by the kernel refusing.
constexpr off_t kHeldBase = 100;
constexpr off_t kUnsharedBase = 200;

enum Permission : unsigned { consistent_read = 0, write = 1, write_unchanged = 2, resize = 3, permission_count = 4 };

constexpr unsigned bit(Permission permission) {
  return 1U << permission;
}

struct Permissions {
  unsigned held;
  unsigned unshared;
};

constexpr Permissions permissions_of(LockMode mode) {
  const unsigned unshared = bit(write) | bit(resize);
  return mode == LockMode::write ? Permissions{bit(consistent_read) | bit(write) | bit(resize), unshared}
                                 : Permissions{bit(consistent_read), unshared};
}

constexpr std::array<const char*, permission_count> kVerbs{"reads", "writes", "writes", "resizes"};

struct flock one_byte(short type, off_t at) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = at;
  lock.l_len = 1;
  return lock;
}

Result<> set_lock(int descriptor, short type, off_t at) {
  struct flock lock = one_byte(type, at);
  int done = 0;
  do {
    done = fcntl(descriptor, F_OFD_SETLK, &lock);
  } while (done != 0 && errno == EINTR);
  if (done == 0) return {};
  // An exclusive lock here is not QEMU's way, but it keeps us out all the same.
  if (errno == EAGAIN || errno == EACCES) return fail(EAGAIN, "another process has locked the file");
  return system_failure("cannot take QEMU's byte-range locks");
}

/// Whether somebody else has locked the byte.
Result<bool> locked_by_other(int descriptor, off_t at) {
  struct flock lock = one_byte(F_WRLCK, at);
  int done = 0;
  do {
    done = fcntl(descriptor, F_OFD_GETLK, &lock);
  } while (done != 0 && errno == EINTR);
  if (done != 0) return system_failure("cannot look for QEMU's byte-range locks");
  return lock.l_type != F_UNLCK;
}

Result<> lock_and_look(int descriptor, LockMode mode) {
  const Permissions mine = permissions_of(mode);
  // Lock first, look second: two that come at the same time may both give way, but never both get in.
  for (unsigned permission = 0; permission < permission_count; ++permission) {
    if ((mine.held >> permission & 1U) != 0) TRY(set_lock(descriptor, F_RDLCK, kHeldBase + permission));
    if ((mine.unshared >> permission & 1U) != 0) TRY(set_lock(descriptor, F_RDLCK, kUnsharedBase + permission));
  }
  for (unsigned permission = 0; permission < permission_count; ++permission) {
    if ((mine.held >> permission & 1U) != 0 && TRY(locked_by_other(descriptor, kUnsharedBase + permission))) {
      return fail(EAGAIN, std::string("in use by another process (QEMU or penstock) that lets nobody else open it "
                                      "while it ") +
                              "has it; close it there first");
    }
    if ((mine.unshared >> permission & 1U) != 0 && TRY(locked_by_other(descriptor, kHeldBase + permission))) {
      return fail(EAGAIN, std::string("in use by another process (QEMU or penstock) that ") + kVerbs.at(permission) +
                              " it; close it there first");
    }
  }
  return {};
}

}  // namespace

Result<> take_qemu_locks(int descriptor, LockMode mode) {
  auto taken = lock_and_look(descriptor, mode);
  if (!taken) {
    for (unsigned permission = 0; permission < permission_count; ++permission) {
      static_cast<void>(set_lock(descriptor, F_UNLCK, kHeldBase + permission));
      static_cast<void>(set_lock(descriptor, F_UNLCK, kUnsharedBase + permission));
    }
  }
  return taken;
}

}  // namespace penstock
