// SPDX-License-Identifier: Apache-2.0
/// What a disk may show after a crash or a failure: every value each sector was given, and what is known to be durable.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace penstock::test {

inline constexpr std::uint64_t kSectorSize = 512;

/// What a sector holds: a number repeated over its 512 bytes; 0 is a sector of zeroes.
using Tag = std::uint64_t;

void fill_sector(std::span<std::byte> sector, Tag tag);
/// Whether all of the sector is one tag.
[[nodiscard]] bool read_sector(std::span<const std::byte> sector, Tag& tag);

/// Moments are positions in a Journal; ticks order what happened between two of its entries.
/// Threads: any, each sector changed by one of them only; asking comes after all changes.
class History {
 public:
  History(std::uint64_t sectors, std::uint64_t size, std::uint64_t first_change = 0)
      : sectors_(sectors), sizes_{{0, 0, size}}, changes_(first_change) {}

  /// A number that tells one change from all others.
  [[nodiscard]] std::uint64_t new_change() { return ++changes_; }
  [[nodiscard]] std::uint64_t tick() { return ++ticks_; }
  [[nodiscard]] static Tag tag_of(std::uint64_t change, std::uint64_t sector) { return change << 32U | (sector + 1); }

  /// What was there before the first moment.
  void start(std::uint64_t sector, Tag tag) { sectors_[sector] = {{0, 0, tag, true}}; }
  /// A change that began at a moment and has ended by now. Not `certain`: it failed, and may have happened or not.
  void changed(std::uint64_t sector, std::size_t begun, Tag tag, bool certain = true);
  /// A value that may be seen by a crash in the middle of a change that began at `begun` and ended at `ended`.
  void passing(std::uint64_t sector, std::size_t begun, std::size_t ended, Tag tag);
  /// A flush that went well.
  void flushed(std::uint64_t begun_tick, std::size_t ended);
  void resized(std::size_t begun, std::size_t ended, std::uint64_t size);

  /// Whether a read may find it now: the newest certain value, or one of a later change that failed.
  [[nodiscard]] bool readable(std::uint64_t sector, Tag found) const;
  /// Empty when `found` may be there after a crash at `moment`; else what is wrong.
  [[nodiscard]] std::string problem(std::uint64_t sector, std::size_t moment, Tag found) const;
  [[nodiscard]] bool size_possible(std::size_t moment, std::uint64_t size) const;

 private:
  struct Version {
    std::size_t begun;
    std::uint64_t ended_tick;
    Tag tag;
    bool certain;
    std::size_t until = SIZE_MAX;  ///< moments behind this cannot show it
  };
  struct Flush {
    std::uint64_t begun_tick;
    std::size_t ended;
  };
  struct Size {
    std::size_t begun;
    std::size_t ended;
    std::uint64_t size;
  };
  std::vector<std::vector<Version>> sectors_;
  std::vector<Size> sizes_;
  std::mutex mutex_;
  std::vector<Flush> flushes_;
  std::atomic<std::uint64_t> changes_;
  std::atomic<std::uint64_t> ticks_{0};
};

}  // namespace penstock::test
