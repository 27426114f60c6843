// SPDX-License-Identifier: Apache-2.0
/// Whole chains in memory for tests of the image: tops of every shape over bases of several kinds.
#pragma once

#include <penstock/image.hpp>

#include "tests/support/model_disk.hpp"
#include "tests/support/random.hpp"
#include "tests/support/shape.hpp"

#include <optional>
#include <vector>

namespace penstock::test {

/// What lies below the top.
enum class Below : std::uint8_t { nothing, raw, shorter, longer, chain, compressed };

/// A chain whose top may be opened again and again, and what it must show at first.
struct Layered {
  std::string name;
  ShapedImage top;
  std::vector<ShapedImage> below;  ///< from the top down
  ModelDisk model;

  /// Nothing when it needs qemu-img and there is none. Throws on what must not fail.
  [[nodiscard]] static std::optional<Layered> create(const Shape& shape, Below below, std::uint64_t size,
                                                     Random& random);
  /// A top with compressed clusters, or with data that an internal snapshot named "s1" shares, made by qemu-img.
  [[nodiscard]] static std::optional<Layered> create_by_qemu(bool compressed, bool snapshot, std::uint64_t size,
                                                             Random& random);
  [[nodiscard]] std::unique_ptr<Image> open(bool writable, DetectZeroes detect_zeroes = DetectZeroes::off) const;
};

/// Random data with runs of zeroes, as disks have.
[[nodiscard]] std::vector<std::byte> disk_contents(std::uint64_t size, Random& random);

/// Between memory and a file that another program reads or made.
[[nodiscard]] std::shared_ptr<Storage> load_file(const std::string& path);
void save_file(Storage& storage, const std::string& path);

}  // namespace penstock::test
