// SPDX-License-Identifier: Apache-2.0
/// An entry is, in this order: registered (or its last answer sent), which is the kernel's; received; answered. Between
/// the last two it may be with another thread, which gives it back through its ring's list.
#include "fuse/rings.hpp"

#include <penstock/wait.hpp>

#include "base/text.hpp"
#include "fuse/io_ring.hpp"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <string>

namespace penstock::fuse {

namespace {

using protocol::kPage;

constexpr std::uint64_t kWakeUp = 0;  // the tag of what is no entry
// What is asked of all processors at a time, as far as it is known to fit: each takes room for the longest request.
constexpr unsigned kEntriesWanted = 32;
constexpr unsigned kDepthMin = 4;
// So many writes after one that had to wait are not tried in a ring's thread.
constexpr unsigned kPatience = 64;
// Reading as much takes longer than handing it on, and others wait behind it.
constexpr std::uint32_t kLongRead = 128U << 10U;
// A longer answer is not kept until the others of its round are ready.
constexpr std::size_t kLongAnswer = 32U << 10U;

/// The kernel's queues: one for each processor that there could be.
unsigned processors_possible() {
  std::ifstream file("/sys/devices/system/cpu/possible");
  std::string text;
  if (file >> text) {
    const auto last = text.find_last_of(",-");
    const auto highest = std::strtoul(text.c_str() + (last == std::string::npos ? 0 : last + 1), nullptr, 10);
    if (highest < 1U << 14U) return static_cast<unsigned>(highest) + 1;
  }
  return static_cast<unsigned>(std::max(1L, sysconf(_SC_NPROCESSORS_CONF)));
}

/// Memory as the system gives it: zero, and in use only where it was touched.
class Pages {
 public:
  explicit Pages(std::size_t bytes)
      : bytes_(bytes),
        start_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (start_ == MAP_FAILED) throw std::bad_alloc();
    // A huge page would hold a request's whole room where its first page is all that is used.
    madvise(start_, bytes_, MADV_NOHUGEPAGE);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { munmap(start_, bytes_); }
  [[nodiscard]] std::byte* at(std::size_t offset) const { return static_cast<std::byte*>(start_) + offset; }

 private:
  const std::size_t bytes_;
  void* const start_;
};

bool always_waits(std::uint32_t opcode) {
  switch (opcode) {
    case FUSE_FSYNC:
    case FUSE_FLUSH:
    case FUSE_FALLOCATE:
    case FUSE_SETATTR:
    case FUSE_LSEEK:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool wants_rings(const MountOptions& options) {
  if (!options.io_uring.value_or(false)) return false;
  std::ifstream file("/sys/module/fuse/parameters/enable_uring");
  return file.get() == 'Y';
}

class Rings::Entry final : public Request {
 public:
  Entry(Ring& ring, std::uint16_t queue, protocol::RingHeader* header, std::byte* payload, std::size_t payload_bytes)
      : ring_(ring),
        queue_(queue),
        shared_(header),
        payload_(payload),
        payload_bytes_(payload_bytes),
        pieces_{iovec{header, sizeof *header}, iovec{payload, payload_bytes}} {
    contiguous_ = false;
  }

  /// Puts the command that gives this entry to the kernel, the first time or with an answer.
  void submit(IoRing& ring) {
    auto& submission = ring.add_command(command_, reinterpret_cast<std::uint64_t>(this));
    const protocol::RingCommand command{.flags = 0, .commit_id = commit_id_, .queue = queue_, .padding = {}};
    std::memcpy(submission.cmd, &command, sizeof command);
    if (command_ != protocol::kRegister) return;
    submission.addr = reinterpret_cast<std::uint64_t>(pieces_.data());
    submission.len = static_cast<std::uint32_t>(pieces_.size());
  }
  /// The kernel has put a request into it.
  void received() {
    command_ = protocol::kCommitAndFetch;
    std::memcpy(&header_, shared_->in_out, sizeof header_);
    commit_id_ = shared_->commit_id;
    fixed_ = std::as_bytes(std::span(shared_->operation_in));
    rest_ = {payload_, std::min<std::size_t>(shared_->payload_bytes, payload_bytes_)};
    answered_ = false;
    must_not_wait_ = false;
  }
  /// Of a read.
  [[nodiscard]] std::uint32_t wanted_bytes() const noexcept {
    fuse_read_in wanted{};
    std::memcpy(&wanted, shared_->operation_in, sizeof wanted);
    return wanted.size;
  }
  void forbid_waiting(bool forbid) noexcept { must_not_wait_ = forbid; }
  [[nodiscard]] std::size_t answer_bytes() const noexcept { return shared_->payload_bytes; }

  std::span<std::byte> room(std::size_t size) override {
    if (size > payload_bytes_) throw std::bad_alloc();
    return {payload_, size};
  }

  Entry* next_done = nullptr;

 private:
  void send(int number, std::span<const std::byte> bytes) override;

  Ring& ring_;
  const std::uint16_t queue_;
  std::uint32_t command_ = protocol::kRegister;
  std::uint64_t commit_id_ = 0;
  protocol::RingHeader* const shared_;
  std::byte* const payload_;
  const std::size_t payload_bytes_;
  std::array<iovec, 2> pieces_;
};

class Rings::Ring {
 public:
  Ring(std::vector<std::uint16_t> queues, unsigned depth, std::uint32_t payload_bytes)
      : wake_up_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        queues_(std::move(queues)),
        pages_(queues_.size() * depth * (kPage + align_up(payload_bytes, kPage))) {
    std::size_t at = 0;
    for (const auto queue : queues_) {
      for (unsigned i = 0; i < depth; ++i) {
        auto* const header = ::new (pages_.at(at)) protocol::RingHeader{};
        entries_.push_back(std::make_unique<Entry>(*this, queue, header, pages_.at(at + kPage), payload_bytes));
        at += kPage + align_up(payload_bytes, kPage);
      }
    }
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    stop();
    ring_.reset();
    if (wake_up_ >= 0) close(wake_up_);
  }

  [[nodiscard]] Result<> open(int device) {
    if (wake_up_ < 0) return system_failure("cannot make an event counter");
    ring_ = TRY(IoRing::make(static_cast<unsigned>(entries_.size()) + 1, device, wake_up_));
    return {};
  }
  void start(const Use& use) {
    use_ = &use;
    thread_ = std::jthread([this] { run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    stopping_ = true;
    wake();
    thread_.join();
  }
  /// An entry was answered. Any thread.
  void take_back(Entry& entry) {
    if (std::this_thread::get_id() == serving_) return entry.submit(*ring_);
    bool first = false;
    {
      const MutexLock lock(done_mutex_);
      first = done_ == nullptr;
      entry.next_done = done_;
      done_ = &entry;
    }
    if (first) wake();
  }

 private:
  /// Sees whether what is served here waits for a disk.
  class Watch final : public WaitRules {
   public:
    [[nodiscard]] bool observes() const noexcept override { return true; }
    void begins_to_wait() noexcept override { waited = true; }
    [[nodiscard]] std::optional<Error> forbids(WaitFor what) const noexcept override {
      if (refusing && (what == WaitFor::turn || refusing_all)) return Error::would_wait();
      return std::nullopt;
    }
    bool refusing = false;
    bool refusing_all = false;  ///< the bytes of a write may have changed something before it has to wait for others
    bool waited = false;
  };

  void wake() const {
    const std::uint64_t one = 1;
    static_cast<void>(!write(wake_up_, &one, sizeof one));
  }
  void run();
  [[nodiscard]] Result<> serve();
  [[nodiscard]] Result<> complete(const io_uring_cqe& completion);
  [[nodiscard]] Result<> receive(Entry& entry);
  void send_done();
  void hand_on(Entry& entry);

  const int wake_up_;
  const std::vector<std::uint16_t> queues_;
  const Pages pages_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::unique_ptr<IoRing> ring_;
  const Use* use_ = nullptr;
  std::atomic<std::thread::id> serving_{};
  std::atomic<bool> stopping_{false};
  Watch watch_;
  unsigned writes_to_hand_on_ = 0;
  unsigned elsewhere_ = 0;  ///< entries that were handed on
  Mutex done_mutex_;
  Entry* done_ GUARDED_BY(done_mutex_) = nullptr;  ///< answered elsewhere
  std::jthread thread_;
};

void Rings::Entry::send(int number, std::span<const std::byte> bytes) {
  if (bytes.size() > payload_bytes_) {
    number = EIO;
    bytes = {};
  }
  if (!bytes.empty() && bytes.data() != payload_) std::memcpy(payload_, bytes.data(), bytes.size());
  fuse_out_header header{};
  header.len = static_cast<std::uint32_t>(sizeof header + bytes.size());
  header.error = -number;
  header.unique = header_.unique;
  std::memcpy(shared_->in_out, &header, sizeof header);
  shared_->payload_bytes = static_cast<std::uint32_t>(bytes.size());
  ring_.take_back(*this);
}

void Rings::Ring::run() {
  pthread_setname_np(pthread_self(), concat("ring-", queues_.front()).c_str());
  serving_ = std::this_thread::get_id();
  const WaitScope scope(&watch_);
  auto ended = serve();
  if (!ended) use_->failed(ended.error());
}

Result<> Rings::Ring::serve() {
  TRY(ring_->enable());
  for (const auto& entry : entries_) entry->submit(*ring_);
  ring_->add_wake_up(kWakeUp);
  for (;;) {
    TRY(ring_->submit(ring_->peek() == nullptr));
    while (const auto* completion = ring_->peek()) {
      const auto copy = *completion;
      ring_->pop();
      TRY(complete(copy));
    }
    send_done();
    if (stopping_ && elsewhere_ == 0) return ring_->submit(false);
  }
}

Result<> Rings::Ring::complete(const io_uring_cqe& completion) {
  if (completion.user_data == kWakeUp) {
    std::uint64_t count = 0;
    static_cast<void>(!read(wake_up_, &count, sizeof count));
    if ((completion.flags & IORING_CQE_F_MORE) == 0) ring_->add_wake_up(kWakeUp);
    return {};
  }
  auto& entry = *reinterpret_cast<Entry*>(completion.user_data);
  switch (-completion.res) {
    case 0:
      return receive(entry);
    case EINTR:
    case EAGAIN:
      entry.submit(*ring_);
      return {};
    // The file system was unmounted or cut off: whoever reads the device is told which. An answer may come too late.
    case ENOTCONN:
    case ENODEV:
    case ECONNABORTED:
    case ECANCELED:
    case ENOENT:
      return {};
    default:
      return system_failure("cannot receive requests over io_uring (mount with -o no_io_uring)", -completion.res);
  }
}

Result<> Rings::Ring::receive(Entry& entry) {
  entry.received();
  const auto opcode = entry.header().opcode;
  const bool is_long = opcode == FUSE_READ && entry.wanted_bytes() >= kLongRead;
  if (always_waits(opcode) || is_long || (opcode == FUSE_WRITE && writes_to_hand_on_ != 0)) {
    if (opcode == FUSE_WRITE) --writes_to_hand_on_;
    hand_on(entry);
    return {};
  }
  const bool tries = opcode == FUSE_READ || opcode == FUSE_WRITE;
  watch_.refusing = tries;
  watch_.refusing_all = opcode == FUSE_READ;
  watch_.waited = false;
  entry.forbid_waiting(tries);
  serve_request(*use_->system, entry);
  watch_.refusing = false;
  entry.forbid_waiting(false);
  if (!entry.answered()) {
    hand_on(entry);
    return {};
  }
  if (watch_.waited && opcode == FUSE_WRITE) writes_to_hand_on_ = kPatience;
  return entry.answer_bytes() >= kLongAnswer ? ring_->submit(false) : Result<>();
}

void Rings::Ring::hand_on(Entry& entry) {
  ++elsewhere_;
  if (use_->hand_on(entry)) return;
  --elsewhere_;
  serve_request(*use_->system, entry);
}

void Rings::Ring::send_done() {
  Entry* entry = nullptr;
  {
    const MutexLock lock(done_mutex_);
    entry = std::exchange(done_, nullptr);
  }
  while (entry != nullptr) {
    auto* const next = std::exchange(entry->next_done, nullptr);
    entry->submit(*ring_);
    --elsewhere_;
    entry = next;
  }
}

Result<std::unique_ptr<Rings>> Rings::make(int device, unsigned threads, std::uint32_t payload_bytes) {
  const unsigned queues = processors_possible();
  threads = std::clamp(threads, 1U, queues);
  std::unique_ptr<Rings> out(new Rings(std::max(kEntriesWanted / queues, kDepthMin)));
  for (unsigned i = 0; i < threads; ++i) {
    std::vector<std::uint16_t> mine;
    for (unsigned queue = i; queue < queues; queue += threads) mine.push_back(static_cast<std::uint16_t>(queue));
    out->rings_.push_back(std::make_unique<Ring>(std::move(mine), out->depth_, payload_bytes));
    TRY(out->rings_.back()->open(device));
  }
  return out;
}

Rings::Rings(unsigned depth) : depth_(depth) {}

Rings::~Rings() {
  stop();
}

void Rings::start(Use use) {
  use_ = std::move(use);
  for (const auto& ring : rings_) ring->start(use_);
}

void Rings::stop() {
  for (const auto& ring : rings_) ring->stop();
}

}  // namespace penstock::fuse
