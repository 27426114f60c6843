// SPDX-License-Identifier: Apache-2.0
#include "fuse/session.hpp"

#include "base/log.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

namespace penstock::fuse {

namespace {

std::string first_line(std::string text) {
  text = text.substr(0, text.find('\n'));
  for (const std::string_view prefix : {"fuse: ", "fusermount3: ", "mount: "}) {
    if (text.starts_with(prefix)) text.erase(0, prefix.size());
  }
  while (text.ends_with(' ') || text.ends_with('.')) text.pop_back();
  return text;
}

/// While it lives, what is written to standard error is kept: libfuse and fusermount3 explain themselves nowhere else.
/// Only while the process has one thread. What is put aside is not for fusermount3, which may stay as long as the mount
/// and would keep whoever reads our standard error waiting.
class CapturedStandardError {
 public:
  CapturedStandardError()
      : file_(memfd_create("messages", MFD_CLOEXEC)), before_(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) {
    if (*this) dup2(file_, STDERR_FILENO);
  }
  CapturedStandardError(const CapturedStandardError&) = delete;
  CapturedStandardError& operator=(const CapturedStandardError&) = delete;
  ~CapturedStandardError() {
    restore();
    if (file_ >= 0) close(file_);
  }

  /// Nothing is captured otherwise: no descriptor was left.
  explicit operator bool() const noexcept { return file_ >= 0 && before_ >= 0; }

  /// Puts standard error back and gives what was written.
  std::string restore() {
    if (before_ >= 0) {
      dup2(before_, STDERR_FILENO);
      close(before_);
      before_ = -1;
    }
    std::array<char, 1024> buffer;
    const ssize_t got = file_ < 0 ? 0 : pread(file_, buffer.data(), buffer.size(), 0);
    return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
  }

 private:
  int file_;
  int before_;
};

__attribute__((format(printf, 2, 0))) void log_from_libfuse(fuse_log_level level, const char* format,
                                                            va_list arguments) {
  if (level > FUSE_LOG_WARNING) return;
  std::array<char, 512> text;
  static_cast<void>(std::vsnprintf(text.data(), text.size(), format, arguments));
  log_limited(LogLevel::warning, concat("libfuse: ", printable(first_line(text.data()))));
}

/// A comma or a backslash in a value would end it.
std::string escape(std::string_view value) {
  std::string out;
  for (const char character : value) {
    if (character == ',' || character == '\\') out.push_back('\\');
    out.push_back(character);
  }
  return out;
}

using protocol::kPage;

// The bytes of a write begin a page: the kernel then copies each of theirs at once and not in two pieces, and host
// storage opened with O_DIRECT takes them as they are.
constexpr std::size_t kBeforeData = sizeof(fuse_in_header) + sizeof(fuse_write_in);
constexpr std::size_t kReceiveBytes = kPage + kTransferMax;

/// One that was read from the device, and is answered there.
class DeviceRequest final : public Request {
 public:
  DeviceRequest(int device, std::span<const std::byte> bytes, ReceiveBuffer& buffer)
      : device_(device), buffer_(buffer) {
    std::memcpy(&header_, bytes.data(), sizeof header_);
    fixed_ = bytes.subspan(sizeof header_);
  }

  std::span<std::byte> room(std::size_t size) override { return buffer_.answer(size); }

 private:
  void send(int number, std::span<const std::byte> bytes) override {
    fuse_out_header header{};
    header.len = static_cast<std::uint32_t>(sizeof header + bytes.size());
    header.error = -number;
    header.unique = header_.unique;
    const std::array<iovec, 2> pieces{iovec{&header, sizeof header},
                                      iovec{const_cast<std::byte*>(bytes.data()), bytes.size()}};
    if (writev(device_, pieces.data(), bytes.empty() ? 1 : 2) >= 0) return;
    // Nobody waits for it any more, or the file system is gone.
    if (errno == ENOENT || errno == ENODEV || errno == ECONNABORTED || errno == ENOTCONN) return;
    log_limited(LogLevel::error, system_failure("cannot answer a request of the kernel").error().message());
  }

  const int device_;
  ReceiveBuffer& buffer_;
};

std::string libfuse_options(const MountOptions& options, const std::string& source, bool read_only) {
  std::string out = concat("default_permissions,nosuid,nodev,fsname=", escape(options.fsname.value_or(source)),
                           ",subtype=", escape(options.subtype), ",max_read=", options.max_read);
  if (read_only) out += ",ro";
  if (options.allow_other) out += ",allow_other";
  if (options.allow_root) out += ",allow_root";
  if (options.auto_unmount) out += ",auto_unmount";
  for (const std::string& word : options.kernel) out.append(",").append(word);
  return out;
}

}  // namespace

Result<std::unique_ptr<Session>> Session::mount(FileSystem& system, const Mountpoint& mountpoint,
                                                const MountOptions& options, const std::string& source, bool read_only,
                                                const Wishes& wishes, Unmounter& helper) {
  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&arguments, "penstock");
  fuse_opt_add_arg(&arguments, "-o");
  fuse_opt_add_arg(&arguments, libfuse_options(options, source, read_only).c_str());
  CapturedStandardError messages;
  if (!messages) {
    const auto problem = system_failure(concat("cannot mount at ", mountpoint.path));
    fuse_opt_free_args(&arguments);
    return problem;
  }
  // It mounts and unmounts. Requests are our own business.
  constexpr fuse_lowlevel_ops kNone{};
  fuse_session* const made = fuse_session_new(&arguments, &kNone, sizeof kNone, nullptr);
  fuse_opt_free_args(&arguments);
  if (made == nullptr) return fail(EINVAL, concat("cannot set up FUSE: ", first_line(messages.restore())));
  std::unique_ptr<Session> session(new Session(made, system, helper));
  if (fuse_session_mount(made, mountpoint.path.c_str()) != 0) {
    const std::string reason = first_line(messages.restore());
    return fail(EIO, concat("cannot mount at ", mountpoint.path, ": ", reason.empty() ? "unknown reason" : reason));
  }
  messages.restore();
  fuse_set_log_func(log_from_libfuse);
  const auto entry = find_mount_at(mountpoint.path);
  if (!entry) return fail(EIO, concat("cannot find the mount at ", mountpoint.path));
  session->entry_ = *entry;
  // While files may still be opened. Only root may, and only Linux with sysfs has it.
  session->read_ahead_ = open(concat("/sys/class/bdi/", entry->device, "/read_ahead_kb").c_str(), O_WRONLY | O_CLOEXEC);
  session->device_ = fuse_session_fd(made);
  TRY(session->agree(wishes));
  return session;
}

Result<> Session::agree(const Wishes& wishes) {
  offer_ = TRY(receive_offer(device_));
  std::uint32_t wanted = 0;
  if (wishes.io_uring && offer_.io_uring()) {
    // Before it is accepted: the kernel then sends nothing by any other way.
    if (auto made = Rings::make(device_, wishes.ring_threads, payload_bytes_max(system_))) {
      rings_ = *std::move(made);
      wanted |= protocol::kOverIoUring2;
    } else {
      no_rings_because_ = made.error().message();
    }
  }
  if (wishes.passthrough && offer_.passthrough()) {
    wanted |= protocol::kPassthrough2;
    passes_through_ = true;
  }
  return accept_offer(device_, offer_, system_, wanted);
}

Result<int> Session::share_file(int file) const {
  const protocol::BackingMap map{.file = file, .flags = 0, .padding = 0};
  const int number = ioctl(device_, protocol::kBackingOpen, &map);
  if (number < 0) return system_failure("the kernel does not take the file");
  return number;
}

void Session::read_further_ahead() const {
  constexpr std::string_view kKibibytes = "1024";  // the longest request
  if (read_ahead_ >= 0) static_cast<void>(!write(read_ahead_, kKibibytes.data(), kKibibytes.size()));
}

Session::~Session() {
  end();
  if (read_ahead_ >= 0) close(read_ahead_);
  fuse_session_destroy(session_);
}

std::span<std::byte> ReceiveBuffer::bytes() noexcept {
  if (room_ == nullptr) room_ = static_cast<std::byte*>(std::aligned_alloc(kPage, kReceiveBytes));
  if (room_ == nullptr) return {};
  return std::span(room_, kReceiveBytes).subspan(kPage - kBeforeData);
}

std::span<std::byte> ReceiveBuffer::answer(std::size_t size) {
  if (answer_bytes_ < size) {
    answer_bytes_ = 0;
    std::free(answer_room_);
    answer_room_ = static_cast<std::byte*>(std::aligned_alloc(kPage, align_up(size, kPage)));
    if (answer_room_ == nullptr) throw std::bad_alloc();
    answer_bytes_ = size;
  }
  return {answer_room_, size};
}

ReceiveBuffer::~ReceiveBuffer() {
  std::free(answer_room_);
  std::free(room_);
}

Result<bool> Session::receive(ReceiveBuffer& buffer, const std::atomic<bool>& stopping, Receiver& receiver) {
  while (!stopping.load(std::memory_order_relaxed) && receiver.receives_on()) {
    const auto bytes = buffer.bytes();
    const ssize_t got = bytes.empty() ? -1 : ::read(device_, bytes.data(), bytes.size());
    if (got >= static_cast<ssize_t>(sizeof(fuse_in_header))) {
      receiver.received();
      DeviceRequest request(device_, bytes.first(static_cast<std::size_t>(got)), buffer);
      serve_request(system_, request);
      continue;
    }
    const int number = bytes.empty() ? ENOMEM : got < 0 ? errno : EIO;
    // ENOENT: the request was withdrawn while it was being read.
    if (number == EINTR || number == EAGAIN || number == ENOENT) continue;
    if (number == ENOMEM) {
      // The request is still with the kernel.
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      continue;
    }
    if (number == ECONNABORTED) {
      return fail(ECONNABORTED, "the connection to the kernel was aborted; what was not synced before may be lost");
    }
    if (number != ENODEV) return system_failure("cannot read requests from /dev/fuse", number);
    gone_ = true;
    return false;
  }
  return true;
}

bool Session::left_dead_mount() const {
  // Asked of the file system, not looked up in the list of mounts: at once after an unmount, id, device and place may
  // belong to another mount, which must be left alone.
  struct statvfs answer{};
  return gone_ && statvfs(entry_.path.c_str(), &answer) != 0 && errno == ENOTCONN;
}

Result<> Session::unmount(Unmount how) const {
  return helper_.unmount(entry_, how);
}

void Session::sync() const {
  helper_.sync(entry_);
}

Result<> Session::announce_size(const std::string& name, std::uint64_t size) const {
  return helper_.announce_size(entry_, name, size);
}

void Session::leave() {
  if (!ended_ && entry_.id != 0 && (!gone_ || left_dead_mount())) {
    if (const auto done = unmount(Unmount::detach); !done) log_line(LogLevel::warning, done.error().message());
  }
  ended_ = true;
}

void Session::end() {
  leave();
  rings_.reset();  // keeps the device open
  fuse_session_unmount(session_);
}

}  // namespace penstock::fuse
