// SPDX-License-Identifier: Apache-2.0
#include "storage/file/file_storage.hpp"

#include "base/text.hpp"
#include "storage/zero_bytes.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace penstock {

namespace {

constexpr std::uint64_t kOffsetMax = INT64_MAX;  // off_t

std::string at(std::string_view what, HostRange range) {
  return concat(what, " of ", range.length, " bytes at ", hex(range.offset.value));
}

/// 0, or the errno of fallocate(2) with all ways of saying "not here" folded into EOPNOTSUPP.
int try_fallocate(int descriptor, int mode, HostRange range) {
  while (fallocate(descriptor, mode, static_cast<off_t>(range.offset.value), static_cast<off_t>(range.length)) != 0) {
    if (errno == EINTR) continue;
    return errno == ENOSYS || errno == ENODEV ? EOPNOTSUPP : errno;
  }
  return 0;
}

/// A block device ioctl that takes a start and a length: 0 or an errno, folded likewise.
int try_range_ioctl(int descriptor, unsigned long request, HostRange range) {
  std::array<std::uint64_t, 2> argument{range.offset.value, range.length};
  while (ioctl(descriptor, request, argument.data()) != 0) {
    if (errno == EINTR) continue;
    return errno == ENOTTY || errno == EINVAL ? EOPNOTSUPP : errno;
  }
  return 0;
}

Result<std::uint64_t> capacity_of(int descriptor) {
  std::uint64_t bytes = 0;
  if (ioctl(descriptor, BLKGETSIZE64, &bytes) != 0) return system_failure("cannot tell the size of the block device");
  return bytes;
}

Result<> write_fully(int descriptor, HostOffset offset, std::span<const std::byte> in) {
  const HostRange whole{offset, in.size()};
  while (!in.empty()) {
    const ssize_t done = pwrite(descriptor, in.data(), in.size(), static_cast<off_t>(offset.value));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return system_failure(at("write", whole));
    // A file that takes nothing and says nothing would be asked for ever.
    if (done == 0) return system_failure(at("write", whole), EIO);
    in = in.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return {};
}

}  // namespace

FileStorage::FileStorage(std::string name, Descriptor descriptor, Opened opened)
    : name_(std::move(name)), descriptor_(std::move(descriptor)), opened_(std::move(opened)) {
  opened_.facts.descriptor = descriptor_.get();
  if (const auto now = size()) least_size_ = *now;
}

/// What lies behind the end reads as zero, but not what was cut off by somebody else while the file was in use: that
/// data is gone, and zeroes in its place would be believed.
Result<> FileStorage::check_still_there(HostOffset end) {
  if (end.value >= least_size_.load(std::memory_order_relaxed)) return {};
  return fail(EIO, concat("the file was cut off at ", hex(end.value), " by somebody else while it was in use"));
}

Result<ssize_t> FileStorage::read_some(HostOffset offset, std::span<std::byte> out) {
  const auto position = static_cast<off_t>(offset.value);
  if (Wait::is_observed() && answers_at_once_.load(std::memory_order_relaxed)) {
    const iovec all{out.data(), out.size()};
    const ssize_t done = preadv2(descriptor_.get(), &all, 1, position, RWF_NOWAIT);
    if (done >= 0 || (errno != EAGAIN && errno != EOPNOTSUPP)) return done;
    if (errno == EOPNOTSUPP) answers_at_once_ = false;
  }
  TRY(Wait::check(WaitFor::bytes));
  const Wait wait;
  return pread(descriptor_.get(), out.data(), out.size(), position);
}

Result<> FileStorage::read(HostOffset offset, std::span<std::byte> out) {
  const HostRange whole{offset, out.size()};
  while (!out.empty() && offset.value < kOffsetMax) {
    const std::size_t want = std::min<std::uint64_t>(out.size(), kOffsetMax - offset.value);
    const ssize_t done = TRY(read_some(offset, out.first(want)));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return system_failure(at("read", whole));
    if (done == 0) {
      TRY(check_still_there(offset));
      break;
    }
    out = out.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  if (!out.empty()) std::memset(out.data(), 0, out.size());
  return {};
}

Result<> FileStorage::check_change(HostRange range) const {
  if (!opened_.writable) return fail(EBADF, at("opened read-only: change", range));
  if (fits(range.offset.value, range.length, opened_.facts.size_max)) return {};
  if (opened_.kind == Kind::block) return fail(ENOSPC, at("change", range) + ": behind the end of the block device");
  return system_failure(at("change", range), EFBIG);
}

Result<> FileStorage::write(HostOffset offset, std::span<const std::byte> in) {
  TRY(check_change({offset, in.size()}));
  return write_fully(descriptor_.get(), offset, in);
}

Result<> FileStorage::write_zeroes(HostRange range, Zeroing zeroing) {
  TRY(check_change(range));
  if (range.empty()) return {};
  return opened_.kind == Kind::block ? zero_block(range, zeroing) : zero_regular(range, zeroing);
}

// Grows by writing the last byte, which is the caller's to write. ftruncate(2) would cut off what another thread
// appends between our look at the size and the call.
Result<> FileStorage::grow_to(HostOffset end) {
  if (TRY(size()) >= end.value) return {};
  constexpr std::array<std::byte, 1> kZero{};
  return write_fully(descriptor_.get(), end - 1, kZero);
}

Result<> FileStorage::zero_regular(HostRange range, Zeroing zeroing) {
  constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const int descriptor = descriptor_.get();
  const auto failure = [&](int number) -> Result<> { return system_failure(at("write zeroes", range), number); };
  if (zeroing == Zeroing::may_unmap) {
    const int punched = try_fallocate(descriptor, kPunch, range);
    if (punched == 0) return grow_to(range.end());
    if (punched != EOPNOTSUPP) return failure(punched);
  }
  const int zeroed = try_fallocate(descriptor, FALLOC_FL_ZERO_RANGE, range);
  if (zeroed == 0) return {};
  if (zeroed != EOPNOTSUPP) return failure(zeroed);
  if (zeroing == Zeroing::keep) {
    // tmpfs cannot zero a range but can punch one and fill it again. Ask for the room first: a range that was
    // punched and then finds the disk full would have lost what `keep` stands for.
    const int held = try_fallocate(descriptor, 0, range);
    if (held != 0 && held != EOPNOTSUPP) return failure(held);
    if (held == 0) {
      const int punched = try_fallocate(descriptor, kPunch, range);
      if (punched != 0) return failure(punched);
      const int filled = try_fallocate(descriptor, 0, range);
      return filled == 0 ? Result<>() : failure(filled);
    }
  }
  // Nothing but room behind the end can be made zero without support of the file system.
  if (TRY(size()) <= range.offset.value) return grow_to(range.end());
  return unsupported(at("write zeroes", range) + ": the file system can neither zero nor punch");
}

Result<> FileStorage::zero_block(HostRange range, Zeroing zeroing) {
  const int descriptor = descriptor_.get();
  const HostRange middle = narrow(range, opened_.sector_size);
  if (middle.empty()) return unsupported(at("write zeroes", range) + ": less than a sector");
  int number = EOPNOTSUPP;
  if (zeroing == Zeroing::may_unmap) {
    number = try_fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, middle);
  }
  if (number == EOPNOTSUPP) {
    number = try_fallocate(descriptor, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, middle);
  }
  if (number == EOPNOTSUPP) number = try_range_ioctl(descriptor, BLKZEROOUT, middle);
  if (number != 0) return system_failure(at("write zeroes", middle), number);
  // The middle told that zeroing works here; only now may the edges change.
  const HostRange head{range.offset, middle.offset - range.offset};
  const HostRange tail{middle.end(), range.end() - middle.end()};
  TRY(write_zero_bytes(*this, head));
  return write_zero_bytes(*this, tail);
}

Result<> FileStorage::discard(HostRange range) {
  TRY(check_change(range));
  int number = 0;
  if (opened_.kind == Kind::block) {
    range = narrow(range, opened_.sector_size);
    if (!range.empty()) number = try_range_ioctl(descriptor_.get(), BLKDISCARD, range);
  } else if (!range.empty()) {
    number = try_fallocate(descriptor_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range);
  }
  if (number != 0 && number != EOPNOTSUPP) return system_failure(at("discard", range), number);
  return {};
}

Result<> FileStorage::allocate(HostRange range) {
  TRY(check_change(range));
  if (range.empty() || opened_.kind == Kind::block) return {};
  const int number = try_fallocate(descriptor_.get(), 0, range);
  if (number != 0) return system_failure(at("allocate", range), number);
  return {};
}

Result<> FileStorage::flush() {
  if (!opened_.writable) return {};
  if (flush_failed_) {
    const MutexLock lock(mutex_);
    return Failure(*flush_error_);
  }
  // fdatasync(2) takes the size along where it changed: that is metadata needed to read the data back.
  const Wait wait;
  int done = 0;
  do {
    done = fdatasync(descriptor_.get());
  } while (done != 0 && errno == EINTR);
  if (done == 0) return {};
  const int number = errno;
  const MutexLock lock(mutex_);
  if (!flush_error_) flush_error_ = system_failure("flush", number).error();
  flush_failed_ = true;
  return Failure(*flush_error_);
}

Result<std::uint64_t> FileStorage::size() {
  if (opened_.kind == Kind::block) return capacity_of(descriptor_.get());
  struct stat status{};
  if (fstat(descriptor_.get(), &status) != 0) return system_failure("cannot tell the size");
  return static_cast<std::uint64_t>(status.st_size);
}

Result<> FileStorage::truncate(std::uint64_t size) {
  if (!opened_.writable) return fail(EBADF, "opened read-only: cannot change its size");
  if (opened_.kind == Kind::block) {
    const std::uint64_t capacity = TRY(capacity_of(descriptor_.get()));
    if (size == capacity) return {};
    return unsupported(concat("a block device of ", capacity, " bytes cannot be made ", size, " bytes long"));
  }
  if (size > kOffsetMax) return system_failure(concat("cannot set the size to ", size), EFBIG);
  // Before: a read that comes between must not take it for somebody else's doing.
  auto least = least_size_.load();
  while (size < least && !least_size_.compare_exchange_weak(least, size)) continue;
  int done = 0;
  do {
    done = ftruncate(descriptor_.get(), static_cast<off_t>(size));
  } while (done != 0 && errno == EINTR);
  if (done != 0) return system_failure(concat("cannot set the size to ", size));
  return {};
}

Result<HostExtent> FileStorage::extent(HostOffset offset) {
  const std::uint64_t end = TRY(size());
  if (offset.value >= end) {
    TRY(check_still_there({std::max(end, offset.value)}));
    return HostExtent{false, 0};
  }
  const std::uint64_t rest = end - offset.value;
  if (opened_.kind == Kind::block) return HostExtent{true, rest};
  const off_t from = static_cast<off_t>(offset.value);
  const off_t data = lseek(descriptor_.get(), from, SEEK_DATA);
  if (data < 0) return HostExtent{errno != ENXIO, rest};  // ENXIO: a hole up to the end; else it cannot tell
  if (data > from) return HostExtent{false, std::min<std::uint64_t>(static_cast<std::uint64_t>(data - from), rest)};
  const off_t hole = lseek(descriptor_.get(), from, SEEK_HOLE);
  if (hole <= from) return HostExtent{true, rest};  // cannot tell, or punched in between
  return HostExtent{true, std::min<std::uint64_t>(static_cast<std::uint64_t>(hole - from), rest)};
}

Result<std::uint64_t> FileStorage::allocated_bytes() {
  struct stat status{};
  if (fstat(descriptor_.get(), &status) != 0) return system_failure("cannot tell the room in use");
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

}  // namespace penstock
