// SPDX-License-Identifier: Apache-2.0
/// An image to be crashed, and a load on it whose every change is known.
#pragma once

#include "storage/memory_storage.hpp"
#include "tests/crash/history.hpp"
#include "tests/support/random.hpp"
#include "tests/support/shape.hpp"

#include <penstock/image.hpp>

#include <functional>

namespace penstock::test {

enum class Contents : std::uint8_t { empty, compressed, snapshot };

struct Case {
  Shape shape;
  Contents contents = Contents::empty;  ///< what is not empty is made by qemu-img
  std::uint64_t size = 1U << 20U;
  unsigned threads = 1;
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
  [[nodiscard]] Result<std::unique_ptr<Image>> open(const ShapedImage& other, bool writable) const;
};

/// Changes an image by chance and keeps its history.
class Load {
 public:
  /// `now` tells the moment.
  Load(const Case& what, Image& image, History& history, std::function<std::size_t()> now)
      : what_(what), image_(image), history_(history), now_(std::move(now)) {}

  /// Takes in what the image shows at the start.
  void take_start();
  /// `operations` in each thread of the case. Gives the errors that were met; a failed change is uncertain.
  std::size_t run(Random& random, unsigned operations);
  bool flush();

 private:
  struct Sectors {
    std::uint64_t first;
    std::uint64_t count;
  };
  [[nodiscard]] Sectors choose(Random& random, unsigned thread) const;
  bool step(Random& random, unsigned thread);
  bool write(Sectors sectors);
  bool zero(Sectors sectors, Zeroing zeroing);
  bool discard(Sectors sectors);
  bool resize(Random& random);
  /// Reads back what a change that went well must have left.
  void expect_readable(Sectors sectors) const;

  const Case& what_;
  Image& image_;
  History& history_;
  const std::function<std::size_t()> now_;
};

/// Everything the image shows is possible after a crash at `moment`. Empty, or what is wrong.
[[nodiscard]] std::string find_problem(Image& image, const History& history, std::size_t moment);

}  // namespace penstock::test
