// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/l2_entry.hpp"

#include "base/endian.hpp"

namespace penstock::qcow2 {

namespace {

/// First bit of the sector field; the packed offset lies below it.
constexpr unsigned sector_field_bit(const Header& header) {
  return 70U - header.cluster_bits;
}

const char* compressed_problem(const Header& header, const L2Entry& entry) {
  if (header.has_data_file()) return "compressed cluster in an image with an external data file";
  if (header.extended_l2() && entry.bitmap != 0) return "compressed cluster with subclusters";
  if (packed_run(header, entry.descriptor).offset.value >= kHostOffsetMax) {
    return "compressed cluster lies behind the largest host offset";
  }
  return nullptr;
}

const char* bitmap_problem(const L2Entry& entry, bool has_host_room) {
  const auto allocated = static_cast<std::uint32_t>(entry.bitmap);
  const auto zero = static_cast<std::uint32_t>(entry.bitmap >> 32U);
  if ((allocated & zero) != 0) return "subcluster that is both allocated and zero";
  if (!has_host_room && allocated != 0) return "allocated subcluster without a host cluster";
  return nullptr;
}

}  // namespace

ClusterKind cluster_kind(const Header& header, const L2Entry& entry) {
  // Bit 0 is a part of the offset of a compressed cluster, so bit 62 decides first.
  if ((entry.descriptor & kCompressed) != 0) return ClusterKind::compressed;
  const bool has_host_room =
      entry_offset(entry.descriptor).value != 0 || (header.has_data_file() && (entry.descriptor & kCopied) != 0);
  if (!header.extended_l2() && (entry.descriptor & kZeroFlag) != 0) {
    return has_host_room ? ClusterKind::zero_allocated : ClusterKind::zero_plain;
  }
  return has_host_room ? ClusterKind::normal : ClusterKind::unallocated;
}

PackedRun packed_run(const Header& header, std::uint64_t descriptor) {
  const unsigned bit = sector_field_bit(header);
  const std::uint64_t offset = descriptor & ((1ULL << bit) - 1);
  const std::uint64_t more_sectors = (descriptor >> bit) & ((1ULL << (header.cluster_bits - 8U)) - 1);
  return {{offset}, static_cast<std::uint32_t>((more_sectors + 1) * 512 - offset % 512)};
}

L2Entry packed_entry(const Header& header, HostRange room) {
  const std::uint64_t more_sectors = (room.end().value - 1) / 512 - room.offset.value / 512;
  return {kCompressed | (more_sectors << sector_field_bit(header)) | room.offset.value, 0};
}

const char* entry_problem(const Header& header, const L2Entry& entry, GuestOffset guest) {
  const auto kind = cluster_kind(header, entry);
  if (kind == ClusterKind::compressed) return compressed_problem(header, entry);
  if (header.version < 3 && (entry.descriptor & kZeroFlag) != 0) return "zero cluster in a version 2 image";
  const bool has_host_room = kind == ClusterKind::normal || kind == ClusterKind::zero_allocated;
  if (has_host_room) {
    const auto offset = entry_offset(entry.descriptor).value;
    if (!is_aligned(offset, header.cluster_size())) return "host offset is not cluster aligned";
    if (header.has_data_file() && offset != guest.value) return "host offset in the data file is not the guest offset";
  }
  if (kind == ClusterKind::unallocated && (entry.descriptor & kCopied) != 0) {
    return "marked as allocated without a host cluster";
  }
  return header.extended_l2() ? bitmap_problem(entry, has_host_room) : nullptr;
}

bool has_reserved_bits(const Header& header, const L2Entry& entry) {
  if ((entry.descriptor & kCompressed) != 0) return false;
  const std::uint64_t reserved = header.extended_l2() ? kL2Reserved | kZeroFlag : kL2Reserved;
  return (entry.descriptor & reserved) != 0;
}

L2Entry load_entry(const Header& header, std::span<const std::byte> table, std::uint32_t index) {
  const std::size_t at = std::size_t{index} * header.l2_entry_bytes();
  return {load_be<std::uint64_t>(table, at), header.extended_l2() ? load_be<std::uint64_t>(table, at + 8) : 0};
}

void store_entry(const Header& header, std::span<std::byte> table, std::uint32_t index, const L2Entry& entry) {
  const std::size_t at = std::size_t{index} * header.l2_entry_bytes();
  store_be(table, at, entry.descriptor);
  if (header.extended_l2()) store_be(table, at + 8, entry.bitmap);
}

}  // namespace penstock::qcow2
