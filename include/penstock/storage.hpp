// SPDX-License-Identifier: Apache-2.0
/// Bytes by offset: what every format driver stands on.
#pragma once

#include <penstock/error.hpp>
#include <penstock/name.hpp>
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

/// What a call of a storage may wait for.
enum class Waits : std::uint8_t { never, disk, network };

/// What is known of a storage since it was opened; none of it changes.
struct StorageFacts {
  std::uint32_t io_alignment = 1;      ///< offsets and lengths of read and write are multiples of this
  std::uint32_t block_size = 4096;     ///< st_blksize: the size at which I/O is efficient, and a hole can be punched
  std::uint64_t size_max = INT64_MAX;  ///< no byte can be stored at or behind this offset
  Waits waits = Waits::disk;
  bool tells_holes = false;  ///< extent() may answer with a hole before the end
  /// Tells two names for the same bytes apart from two things: equal for the same. Empty: nobody can tell.
  std::string identity;
  std::string local_path;  ///< absolute, of the file of this machine that the bytes lie in; empty: there is none
  /// Open, with the storage's own bytes at the same offsets (for splice and preadv), or -1. The storage's: whoever
  /// wants it for longer makes a copy (dup(2)).
  int descriptor = -1;
};

/// One run of a storage with one answer from SEEK_DATA/SEEK_HOLE.
struct HostExtent {
  bool data = true;          ///< false: reads as zero and takes no room
  std::uint64_t length = 0;  ///< bytes for which the answer holds, at least 1 before the end, 0 at the end
};

/// A flat run of host bytes: a file, a block device, memory.
/// Units: bytes. Alignment: offsets, lengths and buffers obey facts().
/// Threads: any call beside any other; overlapping writes are ordered above, by RangeLock.
/// Errors: EIO, ENOSPC, EROFS/EBADF, EOPNOTSUPP; the message names what failed and the offset, the caller adds name().
/// Waiting: any call may wait for a disk or a server. read() and flush() tell the thread's rules so
/// (penstock/wait.hpp); a read that would wait fails when they forbid it, having done nothing. Whoever has the thread
/// must see by himself that the others last: asking that of each small write would cost more than the write. Source:
/// pread(2), fallocate(2), lseek(2).
/// One that is only read says its name, facts, size and read(): what it lacks has an answer here (EROFS for a change).
class Storage {
 public:
  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  virtual ~Storage() = default;

  /// The name it was opened by, as error messages show it.
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  [[nodiscard]] virtual const StorageFacts& facts() const noexcept = 0;
  [[nodiscard]] virtual bool writable() const noexcept { return false; }
  /// It may make threads of its own from now on, once: the process has forked and has given up what it does not need,
  /// which threads of before would keep. Reads work before, too. Errors: EAGAIN, ENOMEM; it then does without.
  [[nodiscard]] virtual Result<> start() { return {}; }

  /// Fills all of `out`; past the end reads as zero. Never short.
  [[nodiscard]] virtual Result<> read(HostOffset offset, std::span<std::byte> out) = 0;
  /// Writes all of `in`, growing as needed. Not durable before flush().
  [[nodiscard]] virtual Result<> write(HostOffset offset, std::span<const std::byte> in);
  /// Makes `range` read as zero, growing as needed. On EOPNOTSUPP nothing changed and the caller writes zeroes.
  [[nodiscard]] virtual Result<> write_zeroes(HostRange range, Zeroing zeroing);
  /// Gives host room back where that is possible; the contents no longer matter. Never fails for want of support.
  [[nodiscard]] virtual Result<> discard(HostRange range);
  /// Sets room aside, so that later writes into `range` do not fail with ENOSPC. Contents stay; growth reads as zero.
  /// On EOPNOTSUPP nothing changed.
  [[nodiscard]] virtual Result<> allocate(HostRange range);
  /// Writes that returned before this call survive power loss once it returns. A failure is reported to every later
  /// flush too: the kernel reports it once and forgets what was lost.
  [[nodiscard]] virtual Result<> flush() { return {}; }

  /// Bytes up to the end. A block device's is its capacity.
  [[nodiscard]] virtual Result<std::uint64_t> size() = 0;
  /// Cuts or grows to `size` bytes; growth reads as zero. EOPNOTSUPP for a block device of another size.
  [[nodiscard]] virtual Result<> truncate(std::uint64_t size);
  /// Data or hole at `offset`, and for how long. What cannot tell answers data up to the end.
  [[nodiscard]] virtual Result<HostExtent> extent(HostOffset offset);
  /// Bytes of host room in use (st_blocks * 512).
  [[nodiscard]] virtual Result<std::uint64_t> allocated_bytes();
};

/// How a storage is opened.
struct StorageOptions {
  bool writable = false;
  bool lock = true;  ///< take and honour QEMU's byte-range locks
};

/// Opens what a name means; the one list of protocols is in src/storage/registry.cpp. What may be opened at whose word
/// is decided above (penstock/opener.hpp). Errors: ENOENT, EACCES, EISDIR, EAGAIN (locked by another), EINVAL (not a
/// file or block device, unknown protocol); the message does not repeat the name.
[[nodiscard]] Result<std::shared_ptr<Storage>> open_storage(const ImageName& name, const StorageOptions& options);
[[nodiscard]] Result<std::shared_ptr<Storage>> open_storage(std::string_view name, const StorageOptions& options);

/// Makes a new, empty local file, or empties an existing regular file; open for writing and locked.
/// Errors: as open_storage. A file in use by another (locked) is left as it is.
[[nodiscard]] Result<std::shared_ptr<Storage>> create_storage(const ImageName& name);
[[nodiscard]] Result<std::shared_ptr<Storage>> create_storage(std::string_view name);

/// StorageFacts::identity of what a name means, without opening it. Errors: ENOENT and the like.
[[nodiscard]] Result<std::string> identify_storage(const ImageName& name);

/// Zeroes `range` by whatever means: write_zeroes, else writes of zero bytes.
[[nodiscard]] Result<> zero_out(Storage& storage, HostRange range, Zeroing zeroing);

}  // namespace penstock
