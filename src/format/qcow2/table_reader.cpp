// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/table_reader.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

namespace penstock::qcow2 {

namespace {

constexpr std::uint64_t kBudgetBase = 1U << 30U;
constexpr std::uint64_t kBudgetPerAllocatedByte = 8;

}  // namespace

Result<TableReader> TableReader::make(Storage& storage) {
  const std::uint64_t file_size = TRY(storage.size());
  const std::uint64_t allocated = std::min(TRY(storage.allocated_bytes()), std::uint64_t{INT64_MAX} / 16);
  return TableReader(storage, file_size, kBudgetBase + allocated * kBudgetPerAllocatedByte);
}

std::uint64_t TableReader::entry_at(std::span<const std::byte> bytes, std::size_t index) {
  return load_be<std::uint64_t>(bytes, index * 8);
}

Result<std::uint64_t> TableReader::hole_at(HostOffset offset) {
  if (offset.value >= file_size_) return INT64_MAX;
  const HostExtent extent = TRY(storage_->extent(offset));
  return extent.data ? 0 : extent.length;
}

Result<bool> TableReader::read(HostOffset offset, std::span<std::byte> out) {
  const std::uint64_t hole = TRY(hole_at(offset));
  if (hole >= out.size() || (hole != 0 && offset.value + hole >= file_size_)) return false;
  if (out.size() > budget_) {
    return corrupt(concat("tables overlap so much that they cannot all be examined (stopped at host offset ",
                          hex(offset.value), ")"));
  }
  budget_ -= out.size();
  TRY(storage_->read(offset, out));
  return true;
}

}  // namespace penstock::qcow2
