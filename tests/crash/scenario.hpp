// SPDX-License-Identifier: Apache-2.0
/// An image to be crashed.
#pragma once

#include "storage/memory_storage.hpp"
#include "tests/crash/history.hpp"
#include "tests/support/random.hpp"
#include "tests/support/shape.hpp"

#include <penstock/clock.hpp>
#include <penstock/image.hpp>

namespace penstock::test {

enum class Contents : std::uint8_t { empty, compressed, snapshot };

struct Case {
  Shape shape;
  Contents contents = Contents::empty;  ///< what is not empty is made by qemu-img
  std::uint64_t size = 1U << 20U;
  unsigned threads = 1;
  bool streams = false;   ///< with a backing file: copied up beside the load, and finalised in the middle of it
  bool may_fail = false;  ///< storages fail meanwhile
  DetectZeroes detect_zeroes = DetectZeroes::off;
  std::uint64_t first_change = 0;  ///< changes are numbered from here: those of an earlier run are not taken for new
  std::uint64_t base_size = 0;     ///< of the backing file; 0: three quarters of the image
  Clock* clock = nullptr;          ///< the streaming job's; null: one that never waits
  /// What resizing stays below.
  [[nodiscard]] std::uint64_t size_max() const { return size + size / 2; }
  [[nodiscard]] std::uint64_t backing_size() const;
  /// What the backing file shows there at the start; 0 without one.
  [[nodiscard]] Tag backing_tag(std::uint64_t sector) const;
  friend void PrintTo(const Case& item, std::ostream* out) { *out << item.shape.name; }
};

/// Named like their shapes. Threads of more than one work on sectors of their own in shared clusters.
[[nodiscard]] const std::vector<Case>& cases();

/// The image as it is before the first moment.
struct Start {
  ShapedImage image;
  std::shared_ptr<MemoryStorage> backing;  ///< null without
  [[nodiscard]] static Start make(const Case& what);
  /// The image over other storages, with its backing file.
  [[nodiscard]] Result<std::unique_ptr<Image>> open(const ShapedImage& other, bool writable,
                                                    DetectZeroes detect_zeroes = DetectZeroes::off) const;
};

}  // namespace penstock::test
