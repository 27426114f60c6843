// SPDX-License-Identifier: Apache-2.0
/// Bytes by offset: what every format driver stands on.
#pragma once

#include <penstock/error.hpp>
#include <penstock/range.hpp>
#include <penstock/wait.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

/// How zeroes may be represented.
enum class Zeroing : std::uint8_t {
  keep,       ///< host room stays allocated where the format can say so
  may_unmap,  ///< host room may be given back
};

/// What a storage asks of its callers.
struct Limits {
  std::uint32_t io_alignment = 1;      ///< offsets and lengths of read and write are multiples of this
  std::uint32_t block_size = 4096;     ///< st_blksize: the size at which I/O is efficient, and a hole can be punched
  std::uint64_t size_max = INT64_MAX;  ///< no byte can be stored at or behind this offset
};

/// One run of a storage with one answer from SEEK_DATA/SEEK_HOLE.
struct HostExtent {
  bool data = true;          ///< false: reads as zero and takes no room
  std::uint64_t length = 0;  ///< bytes for which the answer holds, at least 1 before the end, 0 at the end
};

/// Tells two names for the same bytes apart from two things. Source: stat(2).
struct StorageIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  friend bool operator==(const StorageIdentity&, const StorageIdentity&) = default;
};

/// A flat run of host bytes: a file, a block device, memory.
/// Units: bytes. Alignment: offsets, lengths and buffers obey limits().
/// Threads: any call beside any other; overlapping writes are ordered above, by RangeLock.
/// Errors: EIO, ENOSPC, EROFS/EBADF, EOPNOTSUPP; the message names what failed and the offset, the caller adds name().
/// Waiting: any call may wait for a disk or a server. read() and flush() tell the thread's rules so
/// (penstock/wait.hpp); a read that would wait fails when they forbid it, having done nothing. Whoever has the thread
/// must see by himself that the others last: asking that of each small write would cost more than the write. Source:
/// pread(2), fallocate(2), lseek(2).
class Storage {
 public:
  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  virtual ~Storage() = default;

  /// The name it was opened by, as error messages show it.
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  [[nodiscard]] virtual bool writable() const noexcept = 0;
  [[nodiscard]] virtual Limits limits() const noexcept = 0;
  [[nodiscard]] virtual StorageIdentity identity() const noexcept = 0;

  /// Fills all of `out`; past the end reads as zero. Never short.
  [[nodiscard]] virtual Result<> read(HostOffset offset, std::span<std::byte> out) = 0;
  /// Writes all of `in`, growing as needed. Not durable before flush().
  [[nodiscard]] virtual Result<> write(HostOffset offset, std::span<const std::byte> in) = 0;
  /// Makes `range` read as zero, growing as needed. On EOPNOTSUPP nothing changed and the caller writes zeroes.
  [[nodiscard]] virtual Result<> write_zeroes(HostRange range, Zeroing zeroing) = 0;
  /// Gives host room back where that is possible; the contents no longer matter. Never fails for want of support.
  [[nodiscard]] virtual Result<> discard(HostRange range) = 0;
  /// Sets room aside, so that later writes into `range` do not fail with ENOSPC. Contents stay; growth reads as zero.
  /// On EOPNOTSUPP nothing changed.
  [[nodiscard]] virtual Result<> allocate(HostRange range) = 0;
  /// Writes that returned before this call survive power loss once it returns. A failure is reported to every later
  /// flush too: the kernel reports it once and forgets what was lost.
  [[nodiscard]] virtual Result<> flush() = 0;

  /// Bytes up to the end. A block device's is its capacity.
  [[nodiscard]] virtual Result<std::uint64_t> size() = 0;
  /// Cuts or grows to `size` bytes; growth reads as zero. EOPNOTSUPP for a block device of another size.
  [[nodiscard]] virtual Result<> truncate(std::uint64_t size) = 0;
  /// Data or hole at `offset`, and for how long. What cannot tell answers data up to the end.
  [[nodiscard]] virtual Result<HostExtent> extent(HostOffset offset) = 0;
  /// Bytes of host room in use (st_blocks * 512).
  [[nodiscard]] virtual Result<std::uint64_t> allocated_bytes() = 0;

  /// A file descriptor that can be read at the same offsets (for splice and preadv), or -1.
  [[nodiscard]] virtual int descriptor() const noexcept { return -1; }
};

/// How a storage is opened.
struct StorageOptions {
  bool writable = false;
  bool lock = true;  ///< take and honour QEMU's byte-range locks
};

/// Opens a local path or a name with a protocol ("file:"); the one list of protocols is in
/// src/storage/registry.cpp. Errors: ENOENT, EACCES, EISDIR, EAGAIN (locked by another), EINVAL (not a file or block
/// device, unknown protocol); the message does not repeat the name.
[[nodiscard]] Result<std::shared_ptr<Storage>> open_storage(std::string_view name, const StorageOptions& options);

/// Makes a new, empty local file, or empties an existing regular file; open for writing and locked.
/// Errors: as open_storage. A file in use by another (locked) is left as it is.
[[nodiscard]] Result<std::shared_ptr<Storage>> create_storage(std::string_view name);

/// Zeroes `range` by whatever means: write_zeroes, else writes of zero bytes.
[[nodiscard]] Result<> zero_out(Storage& storage, HostRange range, Zeroing zeroing);

}  // namespace penstock
