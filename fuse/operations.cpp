// SPDX-License-Identifier: Apache-2.0
#include "fuse/operations.hpp"

#include "base/text.hpp"
#include "fuse/reply.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>

namespace penstock::fuse {

namespace {

constexpr fuse_ino_t kFileInDirectory = 2;
// Everything that changes attributes comes through the kernel, which then asks again; the room in use may also change
// when pages of a mapping are written back.
constexpr double kAttributeSeconds = 1;
constexpr double kNameSeconds = 3600;
constexpr unsigned kBackgroundMax = 256;
constexpr std::size_t kPage = 4096;

FileSystem& file_system(fuse_req_t request) {
  return *static_cast<FileSystem*>(fuse_req_userdata(request));
}

bool is_file(const FileSystem& system, fuse_ino_t inode) {
  return inode == (system.name.empty() ? FUSE_ROOT_ID : kFileInDirectory);
}

/// Where a slot's reads go before they are sent; its thread keeps it for the next request.
std::span<std::byte> read_buffer(std::size_t size) {
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  thread_local std::unique_ptr<std::byte, Free> bytes;
  thread_local std::size_t room = 0;
  if (room < size) {
    room = 0;
    // Page-aligned: host storage opened with O_DIRECT needs no bounce buffer.
    bytes.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, align_up(size, kPage))));
    if (!bytes) throw std::bad_alloc();
    room = size;
  }
  return {bytes.get(), size};
}

Result<struct stat> attributes_of(const FileSystem& system, fuse_ino_t inode) {
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

void init(void* data, fuse_conn_info* connection) {
  const auto& system = *static_cast<FileSystem*>(data);
  // Without writeback caching a write(2) that has returned is in the image, and one behind the end of the disk fails at
  // once; with it, both wait for a flush, which is what a loop device or a file system above expects, and dd does not.
  // Only the kernel changes contents, so its cache is always right and need not be dropped
  // when mtime changes. Splicing pays only where data need not pass through memory of ours.
  constexpr unsigned kUnwanted = FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS | FUSE_CAP_SPLICE_READ |
                                 FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_ATOMIC_O_TRUNC;
  const unsigned writeback = FUSE_CAP_WRITEBACK_CACHE;
  constexpr unsigned kWanted =
      FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_PARALLEL_DIROPS;
  connection->want = (connection->want & ~(kUnwanted | writeback)) |
                     (connection->capable & (kWanted | (system.writeback ? writeback : 0)));
  connection->max_write = system.max_write;
  connection->max_read = system.max_read;
  connection->max_background = kBackgroundMax;
  connection->congestion_threshold = kBackgroundMax / 4 * 3;
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const auto& system = file_system(request);
  if (is_file(system, parent)) return void(fuse_reply_err(request, ENOTDIR));
  if (system.name != name) return void(fuse_reply_err(request, ENOENT));
  const auto attributes = attributes_of(system, kFileInDirectory);
  if (!attributes) return reply_error(request, attributes.error(), "lookup");
  fuse_entry_param entry{};
  entry.ino = kFileInDirectory;
  entry.attr = *attributes;
  entry.attr_timeout = kAttributeSeconds;
  entry.entry_timeout = kNameSeconds;
  fuse_reply_entry(request, &entry);
}

void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info* /*file*/) {
  const auto attributes = attributes_of(file_system(request), inode);
  if (!attributes) return reply_error(request, attributes.error(), "stat");
  fuse_reply_attr(request, &*attributes, kAttributeSeconds);
}

timespec time_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now;
}

void setattr(fuse_req_t request, fuse_ino_t inode, struct stat* wanted, int what, fuse_file_info* /*file*/) {
  auto& system = file_system(request);
  if (!is_file(system, inode)) return void(fuse_reply_err(request, EPERM));
  AttributeChange change;
  if ((what & FUSE_SET_ATTR_SIZE) != 0) change.size = static_cast<std::uint64_t>(wanted->st_size);
  if ((what & FUSE_SET_ATTR_MODE) != 0) change.mode = wanted->st_mode;
  if ((what & FUSE_SET_ATTR_UID) != 0) change.uid = wanted->st_uid;
  if ((what & FUSE_SET_ATTR_GID) != 0) change.gid = wanted->st_gid;
  if ((what & FUSE_SET_ATTR_ATIME) != 0) change.atime = wanted->st_atim;
  if ((what & FUSE_SET_ATTR_MTIME) != 0) change.mtime = wanted->st_mtim;
  if ((what & FUSE_SET_ATTR_ATIME_NOW) != 0) change.atime = time_now();
  if ((what & FUSE_SET_ATTR_MTIME_NOW) != 0) change.mtime = time_now();
  if (const auto done = system.view.change(change); !done) return reply_error(request, done.error(), "setattr");
  auto attributes = attributes_of(system, inode);
  if (!attributes) return reply_error(request, attributes.error(), "setattr");
  // Where the new size was rounded up, the kernel first hears of what was asked: it then drops the cached bytes behind,
  // and sees the rounded size at the next stat.
  const bool rounded = change.size && static_cast<off_t>(*change.size) != attributes->st_size;
  if (rounded) attributes->st_size = static_cast<off_t>(*change.size);
  fuse_reply_attr(request, &*attributes, rounded ? 0 : kAttributeSeconds);
}

void open_file(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  const auto& system = file_system(request);
  if (!is_file(system, inode)) return void(fuse_reply_err(request, EISDIR));
  const bool writes = (file->flags & O_ACCMODE) != O_RDONLY;
  if (writes && !system.view.writable()) return void(fuse_reply_err(request, EROFS));
  // No direct_io, not even for O_DIRECT: that would take direct writes past the page cache without invalidating it
  // (before Linux 6.15) and forbid shared mappings. The kernel's own handling of O_DIRECT keeps all views of the file
  // in step, and runs asynchronous direct writes (loop devices, io_uring, libaio) side by side.
  file->keep_cache = 1;
  file->noflush = writes ? 0 : 1;
  file->fh = writes ? 1 : 0;
  fuse_reply_open(request, file);
}

void release(fuse_req_t request, fuse_ino_t /*inode*/, fuse_file_info* /*file*/) {
  fuse_reply_err(request, 0);
}

void read(fuse_req_t request, fuse_ino_t /*inode*/, std::size_t size, off_t offset, fuse_file_info* /*file*/) {
  const auto buffer = read_buffer(size);
  const auto got = file_system(request).view.read(static_cast<std::uint64_t>(offset), buffer);
  if (!got) return reply_error(request, got.error(), concat("read of ", size, " bytes at ", offset));
  fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.data()), *got);
}

void write(fuse_req_t request, fuse_ino_t /*inode*/, const char* bytes, std::size_t size, off_t offset,
           fuse_file_info* file) {
  const std::span in(reinterpret_cast<const std::byte*>(bytes), size);
  auto& view = file_system(request).view;
  const auto written = view.write(static_cast<std::uint64_t>(offset), in);
  if (written) {
    // The kernel turns a short direct write into EIO, as if the disk were broken.
    const bool cut_short = *written < size && (file->flags & O_DIRECT) != 0;
    return cut_short ? void(fuse_reply_err(request, ENOSPC)) : void(fuse_reply_write(request, *written));
  }
  // The end of the disk is no event worth a line in the log, a full host file system is.
  if (written.error().is(ENOSPC) && static_cast<std::uint64_t>(offset) >= view.size()) {
    return void(fuse_reply_err(request, ENOSPC));
  }
  reply_error(request, written.error(), concat("write of ", size, " bytes at ", offset));
}

void flush(fuse_req_t request, fuse_ino_t /*inode*/, fuse_file_info* file) {
  if (file->fh == 0) return void(fuse_reply_err(request, 0));
  reply(request, file_system(request).view.close_writer(), "flush");
}

void fsync(fuse_req_t request, fuse_ino_t /*inode*/, int /*data_only*/, fuse_file_info* /*file*/) {
  reply(request, file_system(request).view.sync(), "fsync");
}

void fallocate(fuse_req_t request, fuse_ino_t /*inode*/, int mode, off_t offset, off_t length,
               fuse_file_info* /*file*/) {
  const auto done =
      file_system(request).view.allocate(mode, static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(length));
  if (!done) return reply_error(request, done.error(), concat("fallocate of ", length, " bytes at ", offset));
  fuse_reply_err(request, 0);
}

void lseek(fuse_req_t request, fuse_ino_t /*inode*/, off_t offset, int whence, fuse_file_info* /*file*/) {
  // The kernel may keep data that would be a hole to us. It then takes all for data and does not ask again.
  if (file_system(request).writeback) return void(fuse_reply_err(request, ENOSYS));
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return void(fuse_reply_err(request, EINVAL));
  const auto found =
      file_system(request).view.seek(whence == SEEK_DATA ? Seek::data : Seek::hole, static_cast<std::uint64_t>(offset));
  if (!found) return reply_error(request, found.error(), concat("seek at ", offset));
  fuse_reply_lseek(request, static_cast<off_t>(*found));
}

void statfs(fuse_req_t request, fuse_ino_t /*inode*/) {
  const auto room = file_system(request).view.file_system();
  if (!room) return reply_error(request, room.error(), "statfs");
  fuse_reply_statfs(request, &*room);
}

/// The convention of getxattr(2) and listxattr(2): size 0 asks for the length.
void reply_attribute(fuse_req_t request, const std::string& value, std::size_t size) {
  if (size == 0) return void(fuse_reply_xattr(request, value.size()));
  if (size < value.size()) return void(fuse_reply_err(request, ERANGE));
  fuse_reply_buf(request, value.data(), value.size());
}

void getxattr(fuse_req_t request, fuse_ino_t /*inode*/, const char* name, std::size_t size) {
  const auto& attributes = file_system(request).attributes;
  const auto found = attributes.find(name);
  if (found == attributes.end()) return void(fuse_reply_err(request, ENODATA));
  reply_attribute(request, found->second, size);
}

void listxattr(fuse_req_t request, fuse_ino_t /*inode*/, std::size_t size) {
  std::string names;
  for (const auto& [name, value] : file_system(request).attributes) names.append(name).push_back('\0');
  reply_attribute(request, names, size);
}

void opendir(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
  if (is_file(file_system(request), inode)) return void(fuse_reply_err(request, ENOTDIR));
  file->cache_readdir = 1;
  fuse_reply_open(request, file);
}

void readdir(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset, fuse_file_info* /*file*/) {
  const auto& system = file_system(request);
  struct Entry {
    const char* name;
    fuse_ino_t inode;
    mode_t type;
  };
  const std::array<Entry, 3> entries{
      {{".", inode, S_IFDIR}, {"..", inode, S_IFDIR}, {system.name.c_str(), kFileInDirectory, S_IFREG}}};
  const auto buffer = read_buffer(size);
  auto* const bytes = reinterpret_cast<char*>(buffer.data());
  std::size_t used = 0;
  for (auto i = static_cast<std::size_t>(std::max<off_t>(offset, 0)); i < entries.size(); ++i) {
    struct stat attributes{};
    attributes.st_ino = entries[i].inode;
    attributes.st_mode = entries[i].type;
    const std::size_t needed =
        fuse_add_direntry(request, bytes + used, size - used, entries[i].name, &attributes, static_cast<off_t>(i + 1));
    if (needed > size - used) break;
    used += needed;
  }
  fuse_reply_buf(request, bytes, used);
}

void fsyncdir(fuse_req_t request, fuse_ino_t /*inode*/, int /*data_only*/, fuse_file_info* /*file*/) {
  fuse_reply_err(request, 0);
}

/// The directory holds the one file and nothing else, for root too. EPERM, not the ENOSYS of a missing operation, which
/// some programs report as a broken system.
template <typename... Arguments>
void refuse(fuse_req_t request, Arguments... /*unused*/) {
  fuse_reply_err(request, EPERM);
}

/// `operation` as libfuse calls it: an exception (memory ran out) is answered, and does not reach C code.
template <auto operation, typename... Arguments>
void guarded(fuse_req_t request, Arguments... arguments) {
  try {
    operation(request, arguments...);
  } catch (const std::exception& problem) {
    reply_error(request, Error(ENOMEM, concat("internal error: ", problem.what())), "request");
  }
}

fuse_lowlevel_ops make_operations() {
  fuse_lowlevel_ops table{};
  table.init = init;
  table.lookup = guarded<lookup>;
  table.getattr = guarded<getattr>;
  table.setattr = guarded<setattr>;
  table.open = guarded<open_file>;
  table.read = guarded<read>;
  table.write = guarded<write>;
  table.flush = guarded<flush>;
  table.release = guarded<release>;
  table.fsync = guarded<fsync>;
  table.fallocate = guarded<fallocate>;
  table.lseek = guarded<lseek>;
  table.statfs = guarded<statfs>;
  table.getxattr = guarded<getxattr>;
  table.listxattr = guarded<listxattr>;
  table.opendir = guarded<opendir>;
  table.readdir = guarded<readdir>;
  table.releasedir = guarded<release>;
  table.fsyncdir = guarded<fsyncdir>;
  table.mknod = refuse;
  table.mkdir = refuse;
  table.unlink = refuse;
  table.rmdir = refuse;
  table.symlink = refuse;
  table.rename = refuse;
  table.link = refuse;
  table.create = refuse;
  return table;
}

}  // namespace

const fuse_lowlevel_ops& operations() {
  static const fuse_lowlevel_ops table = make_operations();
  return table;
}

}  // namespace penstock::fuse
