// SPDX-License-Identifier: Apache-2.0
#include "fuse/view.hpp"

#include "base/text.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <ctime>
#include <limits>

namespace penstock::fuse {

namespace {

constexpr std::int64_t kNanoseconds = 1'000'000'000;
constexpr std::uint64_t kFileSizeMax = INT64_MAX;
constexpr std::uint64_t kStatBlock = 512;  // st_blocks counts these, whatever st_blksize says: stat(2)
// stdio reads this much at a time. Page size, because some kernels take a larger value for the block size of the page
// cache and stumble over it.
constexpr blksize_t kPreferredTransfer = 4096;

/// Whoever sets a time may name any. One that does not fit (before 1678, after 2262) becomes the nearest that does, as
/// with other file systems.
std::int64_t nanoseconds(const timespec& time) {
  std::int64_t out = 0;
  if (__builtin_mul_overflow(time.tv_sec, kNanoseconds, &out) || __builtin_add_overflow(out, time.tv_nsec, &out)) {
    return time.tv_sec < 0 ? INT64_MIN : INT64_MAX;
  }
  return out;
}

timespec to_timespec(std::int64_t time) {
  timespec out{};
  out.tv_sec = time / kNanoseconds;
  out.tv_nsec = time % kNanoseconds;
  if (out.tv_nsec < 0) {
    out.tv_nsec += kNanoseconds;
    --out.tv_sec;
  }
  return out;
}

std::int64_t now() {
  timespec time{};
  // The tick's time, as the kernel stamps files; costs no system call.
  clock_gettime(CLOCK_REALTIME_COARSE, &time);
  return nanoseconds(time);
}

}  // namespace

Result<std::unique_ptr<View>> View::make(Image& image, const ViewOptions& options) {
  const auto layers = TRY(image.layers());
  const bool raw = !layers.empty() && layers.front().capabilities.always_in_place;
  const std::string path = layers.empty() ? image.name() : layers.front().path;
  const int host = open(path.c_str(), O_PATH | O_CLOEXEC);
  return std::unique_ptr<View>(new View(image, options, raw ? 1 : 512, host));
}

View::View(Image& image, const ViewOptions& options, std::uint64_t size_unit, int host)
    : image_(image),
      options_(options),
      size_unit_(size_unit),
      host_(host),
      mode_(options.mode),
      uid_(options.uid),
      gid_(options.gid),
      atime_(now()),
      mtime_(atime_.load()),
      ctime_(atime_.load()) {
  statistics_.set_trace(options.trace);
  struct stat attributes{};
  // A disk that nobody has written yet is as old as its image file.
  if (host_ >= 0 && fstat(host_, &attributes) == 0) {
    atime_ = nanoseconds(attributes.st_atim);
    mtime_ = nanoseconds(attributes.st_mtim);
    ctime_ = nanoseconds(attributes.st_ctim);
  }
}

View::~View() {
  if (host_ >= 0) ::close(host_);
}

Result<> View::require_writable() const {
  if (image_.writable()) return {};
  return fail(EROFS, "the image is open read-only");
}

void View::touch() {
  changed_.store(true, std::memory_order_relaxed);
  const auto time = now();
  mtime_.store(time, std::memory_order_relaxed);
  ctime_.store(time, std::memory_order_relaxed);
}

Result<> View::resize(std::uint64_t size) {
  if (size > align_down(kFileSizeMax, size_unit_)) return fail(EFBIG, "the size is too large for a file");
  const std::uint64_t rounded = align_up(size, size_unit_);
  const std::uint64_t before = image_.virtual_size();
  auto done = image_.resize(rounded);
  // No errno of a file's: it cannot become so long.
  if (!done && done.error().is(EOPNOTSUPP)) return fail(EFBIG, done.error().message());
  if (!done) return done;
  touch();
  // What lay behind the new end is gone, and must not come back in the part that rounding adds.
  if (size < before && size < rounded) {
    TRY(image_.write_zeroes({{size}, std::min(rounded, before) - size}, Zeroing::keep));
  }
  return {};
}

Result<> View::grow_to(std::uint64_t end) {
  const MutexLock lock(resize_mutex_);
  if (end <= size()) return {};
  return resize(end);
}

Result<std::size_t> View::read(std::uint64_t offset, std::span<std::byte> out) {
  const std::uint64_t end = size();
  if (offset >= end) return 0;
  out = out.first(std::min<std::uint64_t>(out.size(), end - offset));
  Statistics::Request request(statistics_, RequestKind::read, offset, out.size());
  auto done = image_.read({offset}, out);
  if (!done) {
    if (done.error().is_would_wait()) request.withdraw();
    request.failed(done.error().number());
    return Failure(std::move(done).error());
  }
  request.succeeded(out.size());
  return out.size();
}

Result<std::size_t> View::write(std::uint64_t offset, std::span<const std::byte> in) {
  Statistics::Request request(statistics_, RequestKind::write, offset, in.size());
  auto written = write_inside(offset, in);
  if (written) {
    request.succeeded(*written);
  } else {
    if (written.error().is_would_wait()) request.withdraw();
    request.failed(written.error().number());
  }
  return written;
}

Result<std::size_t> View::write_inside(std::uint64_t offset, std::span<const std::byte> in) {
  TRY(require_writable());
  if (in.empty()) return 0;
  if (!fits(offset, in.size(), size())) {
    if (options_.resizable) {
      if (!fits(offset, in.size(), kFileSizeMax)) return fail(EFBIG, "the write ends behind the largest file size");
      TRY(grow_to(offset + in.size()));
    } else {
      const std::uint64_t end = size();
      if (options_.on_write_behind_end) options_.on_write_behind_end();
      // A zero-byte success would make the writer try again for ever.
      if (offset >= end) return fail(ENOSPC, "the write begins at or behind the end of the disk");
      in = in.first(std::min<std::uint64_t>(in.size(), end - offset));
    }
  }
  const auto written = image_.write({offset}, in);
  statistics_.mark_written(offset, in.size(), size());
  // Afterwards, and even when it failed: a sync() that began meanwhile has not made all of it durable.
  touch();
  if (!written) return Failure(written.error());
  return in.size();
}

Result<> View::allocate(int mode, std::uint64_t offset, std::uint64_t length) {
  Statistics::Request request(statistics_, RequestKind::zero, offset, length);
  auto done = allocate_inside(mode, offset, length);
  if (done) {
    request.succeeded(*done);
    return {};
  }
  request.failed(done.error().number());
  return Failure(std::move(done).error());
}

Result<std::uint64_t> View::allocate_inside(int mode, std::uint64_t offset, std::uint64_t length) {
  TRY(require_writable());
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const int what = mode & ~FALLOC_FL_KEEP_SIZE;
  if (what != 0 && what != FALLOC_FL_ZERO_RANGE && !(what == FALLOC_FL_PUNCH_HOLE && keep_size)) {
    return unsupported(concat("fallocate with mode ", hex(static_cast<std::uint64_t>(mode)), " is not possible"));
  }
  if (length == 0) return fail(EINVAL, "fallocate of no bytes");
  if (!fits(offset, length, kFileSizeMax)) return fail(EFBIG, "fallocate behind the largest file size");
  if (!keep_size && offset + length > size()) {
    if (!options_.resizable) return fail(EFBIG, "fallocate would change the size of the disk");
    TRY(grow_to(offset + length));
  }
  const GuestRange inside = GuestRange{{offset}, length}.intersection({{0}, size()});
  if (inside.empty()) return 0;
  const bool unmap = what == FALLOC_FL_PUNCH_HOLE && options_.discard == DiscardPolicy::unmap;
  const auto done =
      what == 0 ? image_.allocate(inside) : image_.write_zeroes(inside, unmap ? Zeroing::may_unmap : Zeroing::keep);
  touch();
  statistics_.mark_written(inside.offset.value, inside.length, size());
  if (!done) return Failure(done.error());
  return inside.length;
}

Result<std::uint64_t> View::seek(Seek what, std::uint64_t offset) {
  const std::uint64_t end = size();
  if (offset >= end) return fail(ENXIO, "the offset is at or behind the end of the disk");
  while (offset < end) {
    const Extent extent = TRY(image_.extent({{offset}, end - offset}));
    const bool data = extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed;
    if (data == (what == Seek::data)) return offset;
    offset = extent.guest.end().value;
  }
  // There is always a hole at the end: lseek(2).
  if (what == Seek::hole) return end;
  return fail(ENXIO, "no data follows");
}

Result<> View::sync() {
  if (!image_.writable()) return {};
  Statistics::Request request(statistics_, RequestKind::flush, 0, 0);
  changed_.store(false);
  auto done = image_.flush();
  if (done) {
    request.succeeded();
  } else {
    request.failed(done.error().number());
    changed_.store(true);
  }
  return done;
}

Result<> View::close_writer() {
  if (!changed_.load()) return {};
  return sync();
}

Result<struct stat> View::attributes() {
  struct stat out{};
  out.st_mode = S_IFREG | mode_.load(std::memory_order_relaxed);
  out.st_nlink = 1;
  out.st_uid = uid_.load(std::memory_order_relaxed);
  out.st_gid = gid_.load(std::memory_order_relaxed);
  out.st_size = static_cast<off_t>(size());
  out.st_blksize = kPreferredTransfer;
  out.st_blocks = static_cast<blkcnt_t>(divide_up(TRY(image_.allocated_bytes()), kStatBlock));
  out.st_atim = to_timespec(atime_.load(std::memory_order_relaxed));
  out.st_mtim = to_timespec(mtime_.load(std::memory_order_relaxed));
  out.st_ctim = to_timespec(ctime_.load(std::memory_order_relaxed));
  return out;
}

Result<> View::change(const AttributeChange& change) {
  if (change.size) {
    TRY(require_writable());
    const MutexLock lock(resize_mutex_);
    if (*change.size != size()) {
      if (!options_.resizable) {
        return fail(EPERM, "the size of the disk is fixed; mount with --resizable to change it");
      }
      TRY(resize(*change.size));
    }
  }
  // Nobody runs a disk: set-user-ID bits would only have to be taken off again at the next write.
  if (change.mode) mode_ = *change.mode & 0777U;
  if (change.uid) uid_ = *change.uid;
  if (change.gid) gid_ = *change.gid;
  if (change.atime) atime_ = nanoseconds(*change.atime);
  if (change.mtime) mtime_ = nanoseconds(*change.mtime);
  ctime_ = now();
  return {};
}

Result<struct statvfs> View::file_system() {
  struct statvfs out{};
  if (host_ >= 0 && fstatvfs(host_, &out) != 0) return system_failure("cannot ask the host file system for its room");
  if (out.f_frsize == 0) out.f_frsize = static_cast<unsigned long>(kPreferredTransfer);
  out.f_bsize = image_.geometry().allocation_unit;
  if (out.f_bsize == 0) out.f_bsize = static_cast<unsigned long>(kPreferredTransfer);
  return out;
}

}  // namespace penstock::fuse
