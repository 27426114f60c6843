// SPDX-License-Identifier: Apache-2.0
#include "fuse/operations.hpp"

#include "base/text.hpp"
#include "fuse/reply.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <span>
#include <string_view>

namespace penstock::fuse {

namespace {

constexpr std::uint64_t kFileInDirectory = 2;
constexpr std::uint64_t kWriter = 1;  // the handle of who may write
// Everything that changes attributes comes through the kernel, which then asks again; the room in use may also change
// when pages of a mapping are written back.
constexpr std::uint64_t kAttributeSeconds = 1;
constexpr std::uint64_t kNameSeconds = 3600;

bool is_file(const FileSystem& system, std::uint64_t inode) {
  return inode == (system.name.empty() ? FUSE_ROOT_ID : kFileInDirectory);
}

Result<struct stat> attributes_of(const FileSystem& system, std::uint64_t inode) {
  auto out = TRY(system.view.attributes());
  out.st_ino = inode;
  if (is_file(system, inode)) return out;
  // Whoever may read the file may also get at it.
  const mode_t readable = out.st_mode & (S_IRUSR | S_IRGRP | S_IROTH);
  out.st_mode = S_IFDIR | readable | (readable >> 2U);
  out.st_nlink = 2;
  out.st_size = 0;
  out.st_blocks = 0;
  return out;
}

fuse_attr to_wire(const struct stat& attributes) {
  const auto seconds = [](const timespec& time) { return static_cast<std::uint64_t>(time.tv_sec); };
  const auto rest = [](const timespec& time) { return static_cast<std::uint32_t>(time.tv_nsec); };
  fuse_attr out{};
  out.ino = attributes.st_ino;
  out.size = static_cast<std::uint64_t>(attributes.st_size);
  out.blocks = static_cast<std::uint64_t>(attributes.st_blocks);
  out.atime = seconds(attributes.st_atim);
  out.mtime = seconds(attributes.st_mtim);
  out.ctime = seconds(attributes.st_ctim);
  out.atimensec = rest(attributes.st_atim);
  out.mtimensec = rest(attributes.st_mtim);
  out.ctimensec = rest(attributes.st_ctim);
  out.mode = attributes.st_mode;
  out.nlink = static_cast<std::uint32_t>(attributes.st_nlink);
  out.uid = attributes.st_uid;
  out.gid = attributes.st_gid;
  out.blksize = static_cast<std::uint32_t>(attributes.st_blksize);
  return out;
}

void answer_attributes(Request& request, const struct stat& attributes, std::uint64_t valid_seconds) {
  fuse_attr_out out{};
  out.attr_valid = valid_seconds;
  out.attr = to_wire(attributes);
  request.answer_with(out);
}

void lookup(FileSystem& system, Request& request) {
  if (is_file(system, request.header().nodeid)) return request.fail(ENOTDIR);
  if (system.name != request.name()) return request.fail(ENOENT);
  const auto attributes = attributes_of(system, kFileInDirectory);
  if (!attributes) return reply_error(request, attributes.error(), "lookup");
  fuse_entry_out entry{};
  entry.nodeid = kFileInDirectory;
  entry.entry_valid = kNameSeconds;
  entry.attr_valid = kAttributeSeconds;
  entry.attr = to_wire(*attributes);
  request.answer_with(entry);
}

void getattr(FileSystem& system, Request& request) {
  const auto attributes = attributes_of(system, request.header().nodeid);
  if (!attributes) return reply_error(request, attributes.error(), "stat");
  answer_attributes(request, *attributes, kAttributeSeconds);
}

timespec time_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now;
}

void setattr(FileSystem& system, Request& request) {
  const auto inode = request.header().nodeid;
  if (!is_file(system, inode)) return request.fail(EPERM);
  const auto wanted = request.take<fuse_setattr_in>();
  const auto has = [&wanted](std::uint32_t bit) { return (wanted.valid & bit) != 0; };
  const auto time = [](std::uint64_t seconds, std::uint32_t rest) {
    return timespec{static_cast<time_t>(seconds), static_cast<long>(rest)};
  };
  AttributeChange change;
  if (has(FATTR_SIZE)) change.size = wanted.size;
  if (has(FATTR_MODE)) change.mode = wanted.mode;
  if (has(FATTR_UID)) change.uid = wanted.uid;
  if (has(FATTR_GID)) change.gid = wanted.gid;
  if (has(FATTR_ATIME)) change.atime = time(wanted.atime, wanted.atimensec);
  if (has(FATTR_MTIME)) change.mtime = time(wanted.mtime, wanted.mtimensec);
  if (has(FATTR_ATIME_NOW)) change.atime = time_now();
  if (has(FATTR_MTIME_NOW)) change.mtime = time_now();
  if (const auto done = system.view.change(change); !done) return reply_error(request, done.error(), "setattr");
  auto attributes = attributes_of(system, inode);
  if (!attributes) return reply_error(request, attributes.error(), "setattr");
  // Where the new size was rounded up, the kernel first hears of what was asked: it then drops the cached bytes behind,
  // and sees the rounded size at the next stat.
  const bool rounded = change.size && static_cast<off_t>(*change.size) != attributes->st_size;
  if (rounded) attributes->st_size = static_cast<off_t>(*change.size);
  answer_attributes(request, *attributes, rounded ? 0 : kAttributeSeconds);
}

void open_file(FileSystem& system, Request& request) {
  if (!is_file(system, request.header().nodeid)) return request.fail(EISDIR);
  const bool writes = (request.take<fuse_open_in>().flags & O_ACCMODE) != O_RDONLY;
  if (writes && !system.view.writable()) return request.fail(EROFS);
  // No direct_io, not even for O_DIRECT: that would take direct writes past the page cache without invalidating it
  // (before Linux 6.15) and forbid shared mappings. The kernel's own handling of O_DIRECT keeps all views of the file
  // in step, and runs asynchronous direct writes (loop devices, io_uring, libaio) side by side.
  protocol::OpenOut out{.handle = writes ? kWriter : 0, .flags = FOPEN_KEEP_CACHE, .backing_id = 0};
  if (!writes) out.flags |= FOPEN_NOFLUSH;
  if (system.backing_id) {
    // The cache is the host file's then.
    out.flags = (out.flags & ~static_cast<std::uint32_t>(FOPEN_KEEP_CACHE)) | protocol::kOpenPassthrough;
    out.backing_id = *system.backing_id;
  }
  request.answer_with(out);
}

void release(FileSystem& /*system*/, Request& request) {
  request.succeed();
}

void read(FileSystem& system, Request& request) {
  const auto wanted = request.take<fuse_read_in>();
  // Copying on read is not for a thread that others wait for, and must not be begun twice.
  if (request.must_not_wait() && system.view.reading_writes()) return;
  const auto room = request.room(wanted.size);
  const auto got = system.view.read(wanted.offset, room);
  if (got) return request.answer(room.first(*got));
  if (got.error().is_would_wait()) return;
  reply_error(request, got.error(), concat("read of ", wanted.size, " bytes at ", wanted.offset));
}

void write(FileSystem& system, Request& request) {
  const auto wanted = request.take<fuse_write_in>();
  auto in = request.rest();
  if (in.size() < wanted.size) return request.fail(EIO);
  in = in.first(wanted.size);
  auto& view = system.view;
  const auto written = view.write(wanted.offset, in);
  if (written) {
    // The kernel turns a short direct write into EIO, as if the disk were broken.
    if (*written < in.size() && (wanted.flags & O_DIRECT) != 0) return request.fail(ENOSPC);
    fuse_write_out out{};
    out.size = static_cast<std::uint32_t>(*written);
    return request.answer_with(out);
  }
  if (written.error().is_would_wait()) return;
  // The end of the disk is no event worth a line in the log, a full host file system is.
  if (written.error().is(ENOSPC) && wanted.offset >= view.size()) return request.fail(ENOSPC);
  reply_error(request, written.error(), concat("write of ", in.size(), " bytes at ", wanted.offset));
}

void flush(FileSystem& system, Request& request) {
  if (request.take<fuse_flush_in>().fh != kWriter) return request.succeed();
  // What the kernel wrote by itself is not known here.
  reply(request, system.backing_id ? system.view.sync() : system.view.close_writer(), "flush");
}

void fsync(FileSystem& system, Request& request) {
  reply(request, system.view.sync(), "fsync");
}

void fallocate(FileSystem& system, Request& request) {
  const auto wanted = request.take<fuse_fallocate_in>();
  const auto done = system.view.allocate(static_cast<int>(wanted.mode), wanted.offset, wanted.length);
  if (!done) {
    return reply_error(request, done.error(), concat("fallocate of ", wanted.length, " bytes at ", wanted.offset));
  }
  request.succeed();
}

void lseek(FileSystem& system, Request& request) {
  // The kernel may keep data that would be a hole to us. It then takes all for data and does not ask again.
  if (system.writeback) return request.fail(ENOSYS);
  const auto wanted = request.take<fuse_lseek_in>();
  if (wanted.whence != SEEK_DATA && wanted.whence != SEEK_HOLE) return request.fail(EINVAL);
  const auto found = system.view.seek(wanted.whence == SEEK_DATA ? Seek::data : Seek::hole, wanted.offset);
  if (!found) return reply_error(request, found.error(), concat("seek at ", wanted.offset));
  fuse_lseek_out out{};
  out.offset = *found;
  request.answer_with(out);
}

void statfs(FileSystem& system, Request& request) {
  const auto room = system.view.file_system();
  if (!room) return reply_error(request, room.error(), "statfs");
  fuse_statfs_out out{};
  out.st.blocks = room->f_blocks;
  out.st.bfree = room->f_bfree;
  out.st.bavail = room->f_bavail;
  out.st.files = room->f_files;
  out.st.ffree = room->f_ffree;
  out.st.bsize = static_cast<std::uint32_t>(room->f_bsize);
  out.st.namelen = static_cast<std::uint32_t>(room->f_namemax);
  out.st.frsize = static_cast<std::uint32_t>(room->f_frsize);
  request.answer_with(out);
}

/// The convention of getxattr(2) and listxattr(2): size 0 asks for the length.
void reply_attribute(Request& request, std::string_view value, std::size_t size) {
  if (size == 0) {
    fuse_getxattr_out out{};
    out.size = static_cast<std::uint32_t>(value.size());
    return request.answer_with(out);
  }
  if (size < value.size()) return request.fail(ERANGE);
  request.answer(std::as_bytes(std::span(value)));
}

void getxattr(FileSystem& system, Request& request) {
  const auto size = request.take<fuse_getxattr_in>().size;
  const auto found = system.attributes.find(request.name());
  if (found == system.attributes.end()) return request.fail(ENODATA);
  reply_attribute(request, found->second, size);
}

void listxattr(FileSystem& system, Request& request) {
  std::string names;
  for (const auto& [name, value] : system.attributes) names.append(name).push_back('\0');
  reply_attribute(request, names, request.take<fuse_getxattr_in>().size);
}

void opendir(FileSystem& system, Request& request) {
  if (is_file(system, request.header().nodeid)) return request.fail(ENOTDIR);
  request.answer_with(protocol::OpenOut{.handle = 0, .flags = FOPEN_CACHE_DIR, .backing_id = 0});
}

void readdir(FileSystem& system, Request& request) {
  const auto wanted = request.take<fuse_read_in>();
  struct Entry {
    std::string_view name;
    std::uint64_t inode;
    mode_t type;
  };
  const auto inode = request.header().nodeid;
  const std::array<Entry, 3> entries{
      {{".", inode, S_IFDIR}, {"..", inode, S_IFDIR}, {system.name, kFileInDirectory, S_IFREG}}};
  const auto room = request.room(wanted.size);
  std::size_t used = 0;
  for (auto i = std::min<std::uint64_t>(wanted.offset, entries.size()); i < entries.size(); ++i) {
    const auto& name = entries[i].name;
    const auto needed = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name.size());
    if (needed > room.size() - used) break;
    fuse_dirent head{};
    head.ino = entries[i].inode;
    head.off = i + 1;
    head.namelen = static_cast<std::uint32_t>(name.size());
    head.type = entries[i].type >> 12U;
    std::memset(&room[used], 0, needed);
    std::memcpy(&room[used], &head, FUSE_NAME_OFFSET);
    std::memcpy(&room[used + FUSE_NAME_OFFSET], name.data(), name.size());
    used += needed;
  }
  request.answer(room.first(used));
}

/// The directory holds the one file and nothing else, for root too. EPERM, not the ENOSYS of a missing operation, which
/// some programs report as a broken system.
void refuse(FileSystem& /*system*/, Request& request) {
  request.fail(EPERM);
}

void forget(FileSystem& /*system*/, Request& request) {
  request.leave_unanswered();
}

using Operation = void (*)(FileSystem&, Request&);

Operation operation_of(std::uint32_t opcode) {
  switch (opcode) {
    case FUSE_LOOKUP:
      return lookup;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
      return forget;
    case FUSE_GETATTR:
      return getattr;
    case FUSE_SETATTR:
      return setattr;
    case FUSE_OPEN:
      return open_file;
    case FUSE_READ:
      return read;
    case FUSE_WRITE:
      return write;
    case FUSE_STATFS:
      return statfs;
    case FUSE_FSYNC:
      return fsync;
    case FUSE_FLUSH:
      return flush;
    case FUSE_GETXATTR:
      return getxattr;
    case FUSE_LISTXATTR:
      return listxattr;
    case FUSE_OPENDIR:
      return opendir;
    case FUSE_READDIR:
      return readdir;
    case FUSE_FALLOCATE:
      return fallocate;
    case FUSE_LSEEK:
      return lseek;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FSYNCDIR:
    case FUSE_DESTROY:
      return release;
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_SYMLINK:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_LINK:
    case FUSE_CREATE:
      return refuse;
    default:
      return nullptr;
  }
}

/// What works on a file that was opened was allowed then.
bool is_for_all(std::uint32_t opcode) {
  switch (opcode) {
    case FUSE_READ:
    case FUSE_WRITE:
    case FUSE_FSYNC:
    case FUSE_RELEASE:
    case FUSE_READDIR:
    case FUSE_FSYNCDIR:
    case FUSE_RELEASEDIR:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_DESTROY:
      return true;
    default:
      return false;
  }
}

}  // namespace

void serve_request(FileSystem& system, Request& request) {
  const auto& header = request.header();
  const auto operation = operation_of(header.opcode);
  if (operation == nullptr) {
    // Also to an interruption: the kernel then sends no more of them. Nothing here can be broken off.
    request.fail(ENOSYS);
  } else if (system.only_user && header.uid != *system.only_user && header.uid != 0 && !is_for_all(header.opcode)) {
    request.fail(EACCES);
  } else {
    try {
      operation(system, request);
    } catch (const std::exception& problem) {
      reply_error(request, Error(ENOMEM, concat("internal error: ", problem.what())), "request");
    }
  }
}

}  // namespace penstock::fuse
