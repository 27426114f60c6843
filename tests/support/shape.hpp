// SPDX-License-Identifier: Apache-2.0
/// The kinds of images that tests go through, made in memory (or in any storage) by the format's own create.
#pragma once

#include <penstock/format.hpp>

#include <map>
#include <ostream>
#include <string>
#include <vector>

namespace penstock::test {

struct Shape {
  std::string name;  ///< as gtest wants it: letters, digits, underscores
  std::string format = "qcow2";
  std::map<std::string, std::string> options;
  bool backing = false;  ///< names a backing file "base" of format raw, as long as the image
  friend void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }
};

/// One shape a format can have, the others being combinations: raw; qcow2 versions 2 and 3, small and large clusters,
/// narrow and wide refcounts, extended L2, lazy refcounts, external data files, with and without backing file.
[[nodiscard]] const std::vector<Shape>& shapes();

/// The storages of one image. Throws on what must not fail.
struct ShapedImage {
  Shape shape;
  std::shared_ptr<Storage> file;
  std::shared_ptr<Storage> data;  ///< null without an external data file

  /// Makes an image in new memory.
  [[nodiscard]] static ShapedImage create(const Shape& shape, std::uint64_t size);
  /// The same image in other storages: wrapped ones, or copies.
  [[nodiscard]] ShapedImage with(std::shared_ptr<Storage> other_file, std::shared_ptr<Storage> other_data) const {
    return {shape, std::move(other_file), std::move(other_data)};
  }
  [[nodiscard]] const Format& format() const;
  [[nodiscard]] Result<std::unique_ptr<FormatDriver>> open(bool writable) const;
  /// EOPNOTSUPP when the format has no check.
  [[nodiscard]] Result<CheckReport> check(Repair repair = Repair::none) const;
  /// The first of what the check says.
  [[nodiscard]] std::string findings() const;
};

}  // namespace penstock::test
