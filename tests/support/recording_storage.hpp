// SPDX-License-Identifier: Apache-2.0
/// What a power cut leaves behind: every change of one or more storages is logged in order, and from the log the
/// contents after a crash at any moment are built.
#pragma once

#include "storage/memory_storage.hpp"
#include "tests/support/forwarding_storage.hpp"
#include "tests/support/random.hpp"

#include <functional>
#include <mutex>
#include <vector>

namespace penstock::test {

enum class ChangeKind : std::uint8_t { write, zero, truncate, flush };

struct Change {
  std::size_t device = 0;  ///< which storage, in the order of Journal::add()
  ChangeKind kind = ChangeKind::flush;
  HostRange range;  ///< truncate: length is the new size
  std::vector<std::byte> data;
};

/// The contents after a crash.
struct CrashImage {
  std::size_t moment = 0;  ///< so many changes had been asked for
  std::string what;        ///< how it was made, for messages
  std::vector<std::shared_ptr<MemoryStorage>> devices;
};

/// The model of the disk: what came before a flush of its device is there; of what came after it any part may be, in
/// pieces of a sector (512 bytes), the later of two writes to a sector winning where both are there.
/// Threads: recording from any thread; crash images when nothing is recorded any more.
class Journal {
 public:
  /// A storage over the present contents of `memory`, of which every change is recorded.
  [[nodiscard]] std::shared_ptr<Storage> add(const std::shared_ptr<MemoryStorage>& memory);
  /// Changes recorded so far.
  [[nodiscard]] std::size_t position() const;
  /// For tests that look at the order of calls.
  [[nodiscard]] std::vector<Change> changes() const;

  /// Calls `use` for about `count` crashes in order of their moment: right after each flush at least where `count`
  /// allows, and between flushes with parts of what was not flushed. Stops when `use` returns false.
  void crash(Random& random, std::size_t count, const std::function<bool(const CrashImage&)>& use) const;
  /// The same for every crash there is: after each change, with every subset of the unflushed ones, and with the last
  /// one torn at each of its sectors. Where more than `pending_max` are unflushed, subsets are sampled. For small runs.
  void crash_everywhere(Random& random, std::size_t pending_max,
                        const std::function<bool(const CrashImage&)>& use) const;

 private:
  friend class RecordingStorage;
  void record(Change change);

  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<MemoryStorage>> start_;
  std::vector<Change> changes_;
};

}  // namespace penstock::test
