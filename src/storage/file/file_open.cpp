// SPDX-License-Identifier: Apache-2.0
// Opening and making local files: what is refused, in which words, and what is locked before anything is changed.
#include "base/text.hpp"
#include "storage/file/file_protocol.hpp"
#include "storage/file/file_storage.hpp"
#include "storage/file/qemu_locks.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <filesystem>

namespace penstock {

namespace {

std::string words(int number) {
  return std::generic_category().message(number);
}

Failure open_failure(int number, bool writable) {
  std::string message = words(number);
  if (writable && (number == EACCES || number == EPERM || number == EROFS)) {
    message.append(" (opening it for writing; read-only it may work)");
  }
  return fail(number, std::move(message));
}

/// What cannot hold an image is refused by its kind. Opening some of these has effects (a tape rewinds) or blocks (a
/// FIFO), so the kind is looked at before the open, and once more after it.
Result<> check_kind(const struct stat& status) {
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFBLK:
      return {};
    case S_IFDIR:
      return fail(EISDIR, words(EISDIR));
    case S_IFIFO:
      return fail(EINVAL, "is a FIFO, not a file or block device");
    case S_IFSOCK:
      return fail(EINVAL, "is a socket, not a file or block device");
    case S_IFCHR:
      return fail(EINVAL, "is a character device, not a file or block device");
    default:
      return fail(EINVAL, "is not a file or block device");
  }
}

std::uint32_t block_size_of(const struct stat& status) {
  const auto told = static_cast<std::uint64_t>(status.st_blksize);
  return told >= 512 && told <= (1U << 20U) && std::has_single_bit(told) ? static_cast<std::uint32_t>(told) : 4096U;
}

Result<FileStorage::Opened> examine(int descriptor, bool writable) {
  struct stat status{};
  if (fstat(descriptor, &status) != 0) return open_failure(errno, writable);
  TRY(check_kind(status));
  FileStorage::Opened opened{.writable = writable};
  opened.facts.block_size = block_size_of(status);
  opened.facts.identity = file_identity(status);
  opened.facts.tells_holes = S_ISREG(status.st_mode);
  if (S_ISREG(status.st_mode)) return opened;
  opened.kind = FileStorage::Kind::block;
  int read_only = 0;
  if (writable && ioctl(descriptor, BLKROGET, &read_only) == 0 && read_only != 0) {
    return fail(EACCES, "the block device is read-only (opening it for writing; read-only it may work)");
  }
  int sector_size = 0;
  if (ioctl(descriptor, BLKSSZGET, &sector_size) != 0 || sector_size <= 0) sector_size = 512;
  opened.sector_size = static_cast<std::uint32_t>(sector_size);
  if (ioctl(descriptor, BLKGETSIZE64, &opened.facts.size_max) != 0) {
    return system_failure("cannot tell the size of the block device");
  }
  return opened;
}

Result<Descriptor> open_path(const std::string& path, int flags, bool writable) {
  int descriptor = -1;
  do {
    // Without O_NONBLOCK a FIFO that took the place of the file since check_kind() would hang us.
    descriptor = ::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) return open_failure(errno, writable);
  return Descriptor(descriptor);
}

Result<> make_blocking(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK) != 0) return system_failure("cannot set file flags");
  return {};
}

/// Empty where there is no working directory any more.
std::string absolute(const std::string& path) {
  std::error_code problem;
  auto out = std::filesystem::absolute(path, problem);
  return problem ? std::string() : out.string();
}

Result<std::shared_ptr<Storage>> finish(const std::string& path, Descriptor descriptor, const StorageOptions& options) {
  return adopt_file_storage(path, absolute(path), std::move(descriptor), options);
}

/// The entry of a new file in its directory is data of the directory: without this a power cut may take away the name
/// of an image that was flushed.
Result<> sync_directory(const std::string& path) {
  std::string parent = std::filesystem::path(path).parent_path().string();
  if (parent.empty()) parent = ".";
  const Descriptor directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A directory that may be written but not read cannot be synced; some file systems cannot sync any.
  if (directory.get() < 0 || fsync(directory.get()) == 0 || errno == EINVAL) return {};
  return system_failure("cannot make the new directory entry durable");
}

Result<Descriptor> open_or_make(const std::string& path, bool& made) {
  // Two steps, because O_CREAT on an existing file is refused in a sticky directory (fs.protected_regular).
  for (int attempt = 0;; ++attempt) {
    made = false;
    auto opened = open_path(path, O_RDWR, true);
    if (opened || !opened.error().is(ENOENT)) return opened;
    made = true;
    opened = open_path(path, O_RDWR | O_CREAT | O_EXCL, true);
    if (opened || !opened.error().is(EEXIST)) return opened;
    // Made by another in between: take that one. A dangling symbolic link looks the same for ever.
    if (attempt == 3) return fail(EEXIST, "is a symbolic link to a file that does not exist");
  }
}

}  // namespace

Result<std::shared_ptr<Storage>> adopt_file_storage(std::string name, std::string path, Descriptor descriptor,
                                                    const StorageOptions& options) {
  auto opened = TRY(examine(descriptor.get(), options.writable));
  const int flags = fcntl(descriptor.get(), F_GETFL);
  const int access = flags & O_ACCMODE;
  if (flags < 0 || (access != O_RDWR && access != (options.writable ? O_RDWR : O_RDONLY))) {
    return fail(EACCES, concat("is not open for ", options.writable ? "writing" : "reading"));
  }
  TRY(make_blocking(descriptor.get()));
  if (options.lock) TRY(take_qemu_locks(descriptor.get(), options.writable ? LockMode::write : LockMode::read));
  opened.facts.local_path = std::move(path);
  return std::make_shared<FileStorage>(std::move(name), std::move(descriptor), std::move(opened));
}

Result<std::shared_ptr<Storage>> open_file_storage(const std::string& path, const StorageOptions& options) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return open_failure(errno, options.writable);
  TRY(check_kind(status));
  return finish(path, TRY(open_path(path, options.writable ? O_RDWR : O_RDONLY, options.writable)), options);
}

Result<std::shared_ptr<Storage>> create_file_storage(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) == 0) {
    TRY(check_kind(status));
    if (S_ISBLK(status.st_mode)) return fail(EINVAL, "is a block device; an image can only be made in a regular file");
  }
  bool made = false;
  auto descriptor = TRY(open_or_make(path, made));
  auto storage = TRY(finish(path, std::move(descriptor), {.writable = true, .lock = true}));
  // Locked now: nobody else reads or writes what is cut off here.
  TRY(storage->truncate(0));
  if (made) TRY(sync_directory(path));
  return storage;
}

}  // namespace penstock
