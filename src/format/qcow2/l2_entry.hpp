// SPDX-License-Identifier: Apache-2.0
/// L1 and L2 entries: what the bits say. Pure functions. Source: penstock-formats(5), "qcow2: cluster mapping".
#pragma once

#include "format/qcow2/header.hpp"

namespace penstock::qcow2 {

inline constexpr std::uint64_t kCopied = 1ULL << 63U;  ///< refcount is exactly 1: may be modified in place
inline constexpr std::uint64_t kCompressed = 1ULL << 62U;
inline constexpr std::uint64_t kZeroFlag = 1;  ///< standard entries of version 3
inline constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00ULL;
inline constexpr std::uint64_t kL1Reserved = 0x7f000000000001ffULL;
inline constexpr std::uint64_t kL2Reserved = 0x3f000000000001feULL;  ///< of standard entries

/// An entry as stored; `bitmap` is 0 without extended L2.
struct L2Entry {
  std::uint64_t descriptor = 0;
  std::uint64_t bitmap = 0;  ///< bits 0..31 allocated, bits 32..63 reads as zero
  friend bool operator==(const L2Entry&, const L2Entry&) = default;
};

enum class ClusterKind : std::uint8_t { unallocated, zero_plain, zero_allocated, normal, compressed };

/// Where a compressed cluster lies.
struct PackedRun {
  HostOffset offset;
  std::uint32_t length = 0;  ///< bytes, an upper bound
};

[[nodiscard]] constexpr HostOffset entry_offset(std::uint64_t entry) {
  return {entry & kOffsetMask};
}

/// The kind of a standard entry, or of an extended entry's descriptor (whose subclusters subcluster_kind() tells).
/// With an external data file bit 63 decides whether offset 0 is allocated.
[[nodiscard]] ClusterKind cluster_kind(const Header& header, const L2Entry& entry);

enum class SubclusterKind : std::uint8_t { unallocated, zero, data };

/// Of an extended, not compressed entry that entry_problem() finds nothing wrong with.
[[nodiscard]] constexpr SubclusterKind subcluster_kind(const L2Entry& entry, unsigned index) {
  if (((entry.bitmap >> (32U + index)) & 1U) != 0) return SubclusterKind::zero;
  return ((entry.bitmap >> index) & 1U) != 0 ? SubclusterKind::data : SubclusterKind::unallocated;
}

[[nodiscard]] PackedRun packed_run(const Header& header, std::uint64_t descriptor);

/// The entry of a compressed cluster whose packed bytes lie at `room`.
[[nodiscard]] L2Entry packed_entry(const Header& header, HostRange room);

/// What makes the entry unusable, in words ("host offset 0x50200 is not cluster aligned"); null when nothing does.
/// `guest` is the first guest byte of the cluster (for external data files). Reserved bits are no reason to refuse a
/// read: has_reserved_bits() tells.
[[nodiscard]] const char* entry_problem(const Header& header, const L2Entry& entry, GuestOffset guest);
[[nodiscard]] bool has_reserved_bits(const Header& header, const L2Entry& entry);

[[nodiscard]] L2Entry load_entry(const Header& header, std::span<const std::byte> table, std::uint32_t index);
void store_entry(const Header& header, std::span<std::byte> table, std::uint32_t index, const L2Entry& entry);

}  // namespace penstock::qcow2
