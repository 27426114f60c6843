// SPDX-License-Identifier: Apache-2.0
/// Reading the tables of an image that may be hostile, with a bound on the work.
#pragma once

#include "format/qcow2/header.hpp"

namespace penstock::qcow2 {

/// Tables read once each never exceed the file's own room. One that keeps exceeding it names the same bytes in many
/// guises, which would keep a check busy for hours.
class TableReader {
 public:
  [[nodiscard]] static Result<TableReader> make(Storage& storage);

  [[nodiscard]] std::uint64_t file_size() const { return file_size_; }
  /// Fills `out`; false when all of it is a hole or lies behind the end of the file, and nothing was read.
  /// Errors: EUCLEAN when far more was read than the file has room for; EIO.
  [[nodiscard]] Result<bool> read(HostOffset offset, std::span<std::byte> out);
  /// Calls `visit(index, entry)` for each 64-bit entry that is not 0. Memory: 64 KiB.
  template <typename Visit>
  [[nodiscard]] Result<> for_each_entry(HostOffset table, std::uint64_t entries, Visit visit);

  [[nodiscard]] Storage& storage() { return *storage_; }

 private:
  TableReader(Storage& storage, std::uint64_t file_size, std::uint64_t budget)
      : storage_(&storage), file_size_(file_size), budget_(budget) {}

  /// Bytes of hole at `offset`; 0 where there is data.
  [[nodiscard]] Result<std::uint64_t> hole_at(HostOffset offset);
  [[nodiscard]] static std::uint64_t entry_at(std::span<const std::byte> bytes, std::size_t index);

  Storage* storage_;
  std::uint64_t file_size_;
  std::uint64_t budget_;  ///< bytes that may still be read
};

template <typename Visit>
Result<> TableReader::for_each_entry(HostOffset table, std::uint64_t entries, Visit visit) {
  constexpr std::uint64_t kWindowEntries = 8192;
  std::vector<std::byte> window(std::min(entries, kWindowEntries) * 8);
  for (std::uint64_t first = 0; first < entries;) {
    const HostOffset at = table + first * 8;
    if (at.value >= file_size_) return {};
    if (const std::uint64_t hole = TRY(hole_at(at)); hole >= 8) {
      first += hole / 8;
      continue;
    }
    const std::uint64_t count = std::min(entries - first, kWindowEntries);
    const auto bytes = std::span(window).first(count * 8);
    const bool has_data = TRY(read(at, bytes));
    for (std::uint64_t index = 0; has_data && index < count; ++index) {
      if (const std::uint64_t entry = entry_at(bytes, index); entry != 0) TRY(visit(first + index, entry));
    }
    first += count;
  }
  return {};
}

}  // namespace penstock::qcow2
