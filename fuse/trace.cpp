// SPDX-License-Identifier: Apache-2.0
#include "fuse/trace.hpp"

#include "base/log.hpp"
#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace penstock::fuse {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::chrono::milliseconds kPause{50};
constexpr std::size_t kThreadsMax = 512;

Result<> write_all(int file, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t done = pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return system_failure("cannot write the trace");
    bytes = bytes.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return {};
}

/// A slip of the hand must not cost an image: only what is a trace already is written over.
Result<> make_empty(int file) {
  struct stat attributes{};
  if (fstat(file, &attributes) != 0) return system_failure("cannot look at the trace");
  if (!S_ISREG(attributes.st_mode)) return fail(EINVAL, "a trace needs a regular file");
  if (attributes.st_size == 0) return {};
  std::array<std::byte, TraceHeader::kFixedBytes> head{};
  const ssize_t got = pread(file, head.data(), head.size(), 0);
  if (got < 0) return system_failure("cannot read the file that is there");
  if (!is_trace(std::span(head).first(static_cast<std::size_t>(got)))) {
    return fail(EEXIST, "the file is there and is no trace; remove it first");
  }
  if (ftruncate(file, 0) != 0) return system_failure("cannot empty the trace");
  return {};
}

std::uint64_t next_number() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

Result<std::unique_ptr<Trace>> Trace::create(const std::string& path, const TraceHeader& header,
                                             std::uint64_t bytes_max) {
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
  if (file < 0) return Failure(system_failure("cannot make the trace").error().in(path));
  const auto head = encode(header);
  auto made = make_empty(file);
  if (made) made = write_all(file, head, 0);
  if (!made) {
    close(file);
    return Failure(made.error().in(path));
  }
  return std::unique_ptr<Trace>(new Trace(path, file, head.size(), bytes_max));
}

Trace::Trace(std::string path, int file, std::uint64_t written, std::uint64_t bytes_max)
    : path_(std::move(path)), file_(file), bytes_max_(bytes_max), number_(next_number()), bytes_(written) {}

Trace::~Trace() {
  static_cast<void>(finish());
  close(file_);
}

void Trace::start() {
  writer_ = std::thread([this] { run(); });
}

Trace::Ring* Trace::ring_of_this_thread() {
  struct Mine {
    std::uint64_t trace = 0;
    Ring* ring = nullptr;
  };
  thread_local Mine mine;
  if (mine.trace == number_) return mine.ring;
  const MutexLock lock(mutex_);
  mine = {number_, nullptr};
  if (rings_.size() < kThreadsMax) {
    rings_.push_back(std::make_unique<Ring>(static_cast<std::uint16_t>(rings_.size())));
    mine.ring = rings_.back().get();
  }
  return mine.ring;
}

void Trace::add(Clock::time_point began, TraceRecord record) {
  if (state_.load(kRelaxed) != State::writing) return;
  Ring* const ring = ring_of_this_thread();
  if (ring == nullptr) return void(lost_.fetch_add(1, kRelaxed));
  const auto put = ring->put.load(kRelaxed);
  const auto waiting = put - ring->taken.load(std::memory_order_acquire);
  if (waiting >= kRingRecords) return void(ring->lost.fetch_add(1, kRelaxed));
  record.began = static_cast<std::uint64_t>(std::max<std::int64_t>(0, (began - started_).count()));
  record.thread = ring->thread;
  ring->records[put % kRingRecords] = record;
  ring->put.store(put + 1, std::memory_order_release);
  // Without the mutex the writer may miss it; then it comes by itself soon.
  if (waiting == kRingRecords / 2) wake_.notify_one();
}

void Trace::drain(Ring& ring, std::vector<std::byte>& bytes, std::uint64_t& records) {
  const auto append = [&bytes](const TraceRecord& record) {
    const auto encoded = encode(record);
    bytes.insert(bytes.end(), encoded.begin(), encoded.end());
  };
  const auto end = ring.put.load(std::memory_order_acquire);
  auto taken = ring.taken.load(kRelaxed);
  std::uint64_t last = 0;
  for (; taken != end; ++taken, ++records) {
    const auto& record = ring.records[taken % kRingRecords];
    last = record.began;
    append(record);
  }
  ring.taken.store(taken, std::memory_order_release);
  if (const auto lost = ring.lost.exchange(0, kRelaxed); lost != 0) {
    append({.began = last, .length = lost, .thread = ring.thread, .lost = true});
    lost_.fetch_add(lost, kRelaxed);
  }
}

void Trace::drain(std::vector<std::byte>& bytes) {
  std::vector<Ring*> rings;
  {
    const MutexLock lock(mutex_);
    for (const auto& ring : rings_) rings.push_back(ring.get());
  }
  bytes.clear();
  std::uint64_t records = 0;
  for (Ring* const ring : rings) drain(*ring, bytes, records);
  write_out(bytes, records);
}

void Trace::write_out(const std::vector<std::byte>& bytes, std::uint64_t records) {
  if (bytes.empty() || state_.load(kRelaxed) != State::writing) return;
  const auto at = bytes_.load(kRelaxed);
  const auto room = bytes_max_ > at ? (bytes_max_ - at) / kTraceRecordBytes * kTraceRecordBytes : 0;
  const auto taken = std::span(bytes).first(static_cast<std::size_t>(std::min<std::uint64_t>(room, bytes.size())));
  if (auto done = write_all(file_, taken, at); !done) {
    log_line(LogLevel::warning, concat(printable(path_), ": ", done.error().message(), "; no longer tracing"));
    state_ = State::failed;
    const MutexLock lock(mutex_);
    problem_ = std::move(done).error();
    return;
  }
  bytes_.fetch_add(taken.size(), kRelaxed);
  records_.fetch_add(taken.size() == bytes.size() ? records : taken.size() / kTraceRecordBytes, kRelaxed);
  if (taken.size() == bytes.size()) return;
  log_line(LogLevel::warning, concat(printable(path_), ": the trace has reached its limit; no longer tracing"));
  state_ = State::full;
}

void Trace::run() {
  std::vector<std::byte> bytes;
  for (;;) {
    bool last = false;
    {
      const MutexLock lock(mutex_);
      if (!ending_) wake_.wait_for(mutex_, kPause);
      last = ending_;
    }
    drain(bytes);
    if (last) return;
  }
}

Result<> Trace::finish() {
  {
    const MutexLock lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  if (writer_.joinable()) writer_.join();
  const MutexLock lock(mutex_);
  if (problem_) return Failure(problem_->in(path_));
  return {};
}

Json Trace::describe() const {
  constexpr std::array<const char*, 3> kStates{"writing", "full", "failed"};
  auto lost = lost_.load(kRelaxed);
  {
    const MutexLock lock(mutex_);
    for (const auto& ring : rings_) lost += ring->lost.load(kRelaxed);
  }
  return {{"file", path_},
          {"state", kStates[static_cast<std::size_t>(state_.load(kRelaxed))]},
          {"records", records_.load(kRelaxed)},
          {"lost", lost},
          {"bytes", bytes_.load(kRelaxed)}};
}

}  // namespace penstock::fuse
