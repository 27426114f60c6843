// SPDX-License-Identifier: Apache-2.0
/// What a disk must hold: flat bytes, to compare with.
#pragma once

#include <penstock/range.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace penstock::test {

/// Ranges must lie inside. Threads: as a std::vector.
class ModelDisk {
 public:
  explicit ModelDisk(std::uint64_t size) : bytes_(size) {}

  [[nodiscard]] std::uint64_t size() const { return bytes_.size(); }
  [[nodiscard]] std::span<const std::byte> bytes(GuestRange range) const;
  void write(GuestOffset offset, std::span<const std::byte> in);
  void zero(GuestRange range);
  void resize(std::uint64_t size) { bytes_.resize(size); }

  /// Empty when `found` is what the model holds at `offset`; otherwise says where the first difference is.
  [[nodiscard]] std::string difference(GuestOffset offset, std::span<const std::byte> found) const;

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace penstock::test
