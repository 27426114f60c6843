// SPDX-License-Identifier: Apache-2.0
/// The virtual disk of an image as a picture: `penstock map --output svg`.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::cli {

/// What the top layer has of a run of the disk; as the cells of `status --watch` tell it, where the image is in use.
enum class DiskPart : std::uint8_t { provisioned, zero, missing };

/// The disk from `start` on, cut into equal cells; each shows what most of it is. Units: bytes. Memory: a few words a
/// cell, however long the disk.
class DiskPicture {
 public:
  static constexpr unsigned kColumns = 64;
  static constexpr unsigned kRows = 32;

  DiskPicture(std::uint64_t start, std::uint64_t length);

  /// Runs come in order and do not overlap; what is outside is left out.
  void add(std::uint64_t offset, std::uint64_t length, DiskPart part);

  /// A whole SVG file, well formed whatever `name` holds. `name`: of the image; `format`: of its top layer.
  [[nodiscard]] std::string svg(std::string_view name, std::string_view format) const;

 private:
  static constexpr std::size_t kParts = 3;
  using Bytes = std::array<std::uint64_t, kParts>;

  [[nodiscard]] std::uint64_t start_of(std::uint64_t cell) const;
  [[nodiscard]] DiskPart part_of(std::size_t cell) const;
  [[nodiscard]] std::string cells_svg() const;
  [[nodiscard]] std::string legend_svg() const;

  std::uint64_t start_;
  std::uint64_t length_;
  std::vector<Bytes> cells_;
  Bytes total_{};
};

/// `text` as character data of XML 1.0 or the value of an attribute: what it must not hold becomes U+FFFD.
[[nodiscard]] std::string xml_text(std::string_view text);

}  // namespace penstock::cli
