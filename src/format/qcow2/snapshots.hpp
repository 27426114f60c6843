// SPDX-License-Identifier: Apache-2.0
/// The snapshot table, read. Source: penstock-formats(5), "qcow2: snapshots".
#pragma once

#include "format/qcow2/header.hpp"

namespace penstock::qcow2 {

inline constexpr std::uint32_t kSnapshotExtraMax = 1024;

struct Snapshot {
  HostOffset l1_offset;
  std::uint32_t l1_entries = 0;
  std::uint32_t extra_bytes = 0;  ///< 16 at least in version 3
  SnapshotInfo info;
};

struct SnapshotTable {
  std::vector<Snapshot> snapshots;
  std::uint64_t bytes = 0;  ///< of the table in the file
};

/// Whether a snapshot whose L1 table lies where none can be is an error, or for the caller to find out.
enum class SnapshotPlaces : std::uint8_t { valid, any };

/// Reads the whole table, at most 64 MiB of it. Snapshots' own L1 tables are not looked at.
/// Errors: EUCLEAN for an entry that breaks the format or a table that does not fit the file, EFBIG for a table that is
/// too large.
[[nodiscard]] Result<SnapshotTable> read_snapshots(Storage& storage, const Header& header,
                                                   SnapshotPlaces places = SnapshotPlaces::valid);

}  // namespace penstock::qcow2
