// SPDX-License-Identifier: Apache-2.0
#include "format/qed/table_clusters.hpp"

#include "base/endian.hpp"

#include <algorithm>

namespace penstock::qed {

bool TableClusters::insert(HostOffset table) {
  if (tables_.contains(table.value)) {
    ambiguous_.insert(table.value);
    return false;
  }
  const bool clear = !overlaps({table, table_bytes_});
  tables_.insert(table.value);
  if (!clear) ambiguous_.insert(table.value);
  return clear;
}

bool TableClusters::overlaps(HostRange range) const {
  // All tables have one size: only the last that begins before the end of the range can reach into it.
  auto next = tables_.lower_bound(range.end().value);
  return next != tables_.begin() && *std::prev(next) + table_bytes_ > range.offset.value;
}

Result<> visit_table(Storage& storage, const Header& header, HostOffset offset,
                     const std::function<Result<>(std::uint64_t index, std::uint64_t entry)>& visit) {
  constexpr std::uint64_t kChunk = 1U << 20U;
  std::vector<std::byte> chunk(std::min(kChunk, header.table_bytes()));
  for (std::uint64_t at = 0; at < header.table_bytes();) {
    const HostExtent extent = TRY(storage.extent(offset + at));
    const std::uint64_t length =
        std::min(header.table_bytes() - at, extent.length == 0 ? header.table_bytes() : extent.length);
    if (!extent.data || extent.length == 0) {
      at += std::max<std::uint64_t>(8, align_down(length, 8));
      continue;
    }
    const std::span<std::byte> part =
        std::span(chunk).first(std::min<std::uint64_t>(chunk.size(), align_up(length, 8)));
    TRY(storage.read(offset + at, part));
    for (std::size_t entry = 0; entry < part.size(); entry += 8) {
      const auto value = load_le<std::uint64_t>(std::span<const std::byte>(part), entry);
      if (value != 0) TRY(visit((at + entry) / 8, value));
    }
    at += part.size();
  }
  return {};
}

}  // namespace penstock::qed
