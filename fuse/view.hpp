// SPDX-License-Identifier: Apache-2.0
/// The flat disk as a regular file: what every file operation means before, at, across and after its end.
/// Knows nothing of libfuse, so that the rules can be tested without a mount.
#pragma once

#include <penstock/image.hpp>

#include "base/mutex.hpp"
#include "fuse/statistics.hpp"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace penstock::fuse {

enum class DiscardPolicy : std::uint8_t {
  ignore,  ///< a punched hole reads as zero and keeps its host room
  unmap,   ///< a punched hole gives its host room back
};

struct ViewOptions {
  DiscardPolicy discard = DiscardPolicy::unmap;
  bool resizable = false;
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0600;      ///< permission bits
  Trace* trace = nullptr;  ///< where requests are recorded; must live as long as the view
  /// Called, on any thread, when a write does not fit a disk of fixed size. Must not wait.
  std::function<void()> on_write_behind_end;
};

enum class Seek : std::uint8_t { data, hole };

/// What to change of the attributes; unset stays.
struct AttributeChange {
  std::optional<std::uint64_t> size;
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<timespec> atime;
  std::optional<timespec> mtime;
};

/// The image as one file of virtual_size() bytes.
///
/// The size is fixed unless `resizable`. Then, as for a block device or a file at its file system's limit: a write
/// across the end is cut short there, one at or behind it fails with ENOSPC; fallocate(2) that would grow the file
/// fails with EFBIG, truncate(2) to another size with EPERM. With `resizable` all of them resize the image; formats
/// other than raw take sizes in units of 512 bytes, to which a new size is rounded up.
/// Punching and zeroing behind the end is without effect and without error, as on ext4.
///
/// Units: bytes, any alignment. Threads: any call beside any other.
/// Errors: as a file on ext4 gives them, plus what Image gives. Source: pwrite(2), fallocate(2), lseek(2).
class View {
 public:
  /// `image` must live as long as the view.
  [[nodiscard]] static Result<std::unique_ptr<View>> make(Image& image, const ViewOptions& options);
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View();

  [[nodiscard]] std::uint64_t size() const noexcept { return image_.virtual_size(); }
  [[nodiscard]] bool writable() const noexcept { return image_.writable(); }
  /// Whether reading may change the image (copy-on-read).
  [[nodiscard]] bool reading_writes() const noexcept { return image_.copies_on_read(); }
  [[nodiscard]] const ViewOptions& options() const noexcept { return options_; }
  [[nodiscard]] const Statistics& statistics() const noexcept { return statistics_; }

  /// Bytes read: fewer than asked only at the end, 0 at or behind it. Where the thread's rules forbid to wait:
  /// Error::would_wait(), which counts as no request; so does write().
  [[nodiscard]] Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> out);
  /// Bytes written: fewer than asked only where the end cuts the write; never 0 unless `in` is empty.
  [[nodiscard]] Result<std::size_t> write(std::uint64_t offset, std::span<const std::byte> in);
  /// `mode` as in fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE with or without KEEP_SIZE.
  [[nodiscard]] Result<> allocate(int mode, std::uint64_t offset, std::uint64_t length);
  /// Errors: ENXIO at or behind the end, and for `data` when only a hole follows.
  [[nodiscard]] Result<std::uint64_t> seek(Seek what, std::uint64_t offset);
  /// fsync(2) and fdatasync(2).
  [[nodiscard]] Result<> sync();
  /// close(2) of a writer: makes durable what was changed since the last sync.
  [[nodiscard]] Result<> close_writer();

  /// All but st_ino and st_dev.
  [[nodiscard]] Result<struct stat> attributes();
  [[nodiscard]] Result<> change(const AttributeChange& change);
  /// The host file system's room. f_bsize is the allocation unit of the image, in which the loop driver discards.
  [[nodiscard]] Result<struct statvfs> file_system();

 private:
  View(Image& image, const ViewOptions& options, std::uint64_t size_unit, int host);

  Result<> require_writable() const;
  /// As write() and allocate(), which count what these do; bytes that were zeroed.
  Result<std::size_t> write_inside(std::uint64_t offset, std::span<const std::byte> in);
  Result<std::uint64_t> allocate_inside(int mode, std::uint64_t offset, std::uint64_t length);
  Result<> resize(std::uint64_t size);
  /// Grows the image to at least `end`; any thread, one at a time.
  Result<> grow_to(std::uint64_t end);
  void touch();

  Image& image_;
  const ViewOptions options_;
  const std::uint64_t size_unit_;  ///< virtual sizes are multiples of this
  Statistics statistics_;
  const int host_;                    ///< O_PATH descriptor of the top image, for fstatvfs(2); -1: none
  Mutex resize_mutex_;                ///< taken before any lock of the image
  std::atomic<bool> changed_{false};  ///< since the last sync() began
  std::atomic<mode_t> mode_;
  std::atomic<uid_t> uid_;
  std::atomic<gid_t> gid_;
  std::atomic<std::int64_t> atime_;  ///< nanoseconds since 1970
  std::atomic<std::int64_t> mtime_;
  std::atomic<std::int64_t> ctime_;
};

}  // namespace penstock::fuse
