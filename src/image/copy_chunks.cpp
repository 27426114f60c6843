// SPDX-License-Identifier: Apache-2.0
#include "image/copy_chunks.hpp"

#include "base/mutex.hpp"

#include <new>
#include <optional>
#include <vector>

namespace penstock {

namespace {

class Walk {
 public:
  explicit Walk(const ChunkWork& work) : work_(work) {}

  void run_slot() {
    try {
      std::vector<std::byte> memory(std::size_t{work_.chunk_bytes} * work_.buffers);
      while (const auto piece = next()) {
        auto done = work_.work(*piece, memory);
        finish(*piece, std::move(done));
      }
    } catch (const std::bad_alloc&) {
      fail_with({ENOMEM, "no memory for a copy buffer"});
    }
  }

  [[nodiscard]] Result<> outcome() {
    const MutexLock lock(mutex_);
    if (error_) return Failure(*error_);
    return {};
  }

 private:
  std::optional<GuestRange> next() {
    const MutexLock lock(mutex_);
    while (!error_ && next_ < work_.size) {
      if (work_.options.stop.stop_requested()) {
        error_.emplace(ECANCELED, "interrupted");
        break;
      }
      const GuestRange rest{{next_}, work_.size - next_};
      const auto skipped = work_.skip(rest);
      if (!skipped) {
        error_ = skipped.error();
        break;
      }
      const auto whole = *skipped >= rest.length ? rest.length : align_down(*skipped, work_.chunk_bytes);
      const auto taken = whole != 0 ? whole : std::min<std::uint64_t>(rest.length, work_.chunk_bytes);
      next_ += taken;
      if (whole == 0) return GuestRange{rest.offset, taken};
      count(whole);
    }
    return std::nullopt;
  }

  void finish(GuestRange piece, Result<> done) {
    const MutexLock lock(mutex_);
    if (!done && !error_) error_ = done.error();
    if (done) count(piece.length);
  }
  void fail_with(Error error) {
    const MutexLock lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  void count(std::uint64_t bytes) REQUIRES(mutex_) {
    done_ += bytes;
    if (work_.options.progress) work_.options.progress(done_, work_.size);
  }

  const ChunkWork& work_;
  Mutex mutex_;
  std::uint64_t next_ GUARDED_BY(mutex_) = 0;
  std::uint64_t done_ GUARDED_BY(mutex_) = 0;
  std::optional<Error> error_ GUARDED_BY(mutex_);
};

}  // namespace

Result<> work_in_chunks(Executor& executor, const ChunkWork& work) {
  Walk walk(work);
  if (work.options.progress) work.options.progress(0, work.size);
  executor.run_on_all_slots([&walk](unsigned) { walk.run_slot(); });
  return walk.outcome();
}

std::uint32_t chunk_bytes_for(const Image& image) {
  return std::clamp(image.geometry().cluster_size, kCopyChunkMin, kCopyChunkMax);
}

}  // namespace penstock
