// SPDX-License-Identifier: Apache-2.0
/// The add-cow header. Source: penstock-formats(5), "add-cow".
#pragma once

#include <penstock/format.hpp>

#include <string>

namespace penstock::add_cow {

inline constexpr std::uint32_t kMagic = 0x574f4341;
inline constexpr std::size_t kFixedBytes = 76;
inline constexpr unsigned kClusterBitsMin = 12;
inline constexpr unsigned kClusterBitsMax = 21;
inline constexpr std::size_t kFormatBytes = 16;
/// Disks that need a larger bitmap (32 TiB of 4 KiB clusters, 512 TiB of 64 KiB ones) are refused: it is walked through
/// whenever the whole disk is looked at.
inline constexpr std::uint64_t kBitmapBytesMax = 1U << 30U;

enum Compatible : std::uint64_t { kAllAllocated = 1, kCopyOnRead = 2, kStream = 4 };  // the last two are penstock's own

/// Byte positions of fields that are written on their own; a name has a u32 offset and a u32 size.
inline constexpr std::size_t kBackingNameField = 4;
inline constexpr std::size_t kImageNameField = 12;
inline constexpr std::size_t kBackingFormatField = 44;
inline constexpr HostOffset kCompatibleField{32};

/// The header as decoded, little-endian on disk.
struct Header {
  std::uint32_t cluster_bits = 16;
  std::uint64_t compatible = 0;
  BackingReference backing;
  std::string image_name;
  std::string image_format = "raw";
  std::vector<HostRange> stray_bytes;  ///< of the names area: what belongs to no name and is not zero

  [[nodiscard]] std::uint32_t cluster_size() const { return 1U << cluster_bits; }
  /// Where the bitmap begins: the size of the header.
  [[nodiscard]] std::uint64_t bitmap_offset() const { return std::max<std::uint64_t>(4096, cluster_size()); }
  [[nodiscard]] bool all_allocated() const { return (compatible & kAllAllocated) != 0; }
  [[nodiscard]] std::uint64_t clusters(std::uint64_t virtual_size) const {
    return divide_up(virtual_size, cluster_size());
  }
  /// Bytes of the bitmap as it is written: whole clusters.
  [[nodiscard]] std::uint64_t bitmap_bytes(std::uint64_t virtual_size) const {
    return align_up(divide_up(clusters(virtual_size), 8), cluster_size());
  }
  /// EFBIG for a disk whose bitmap would be too large.
  [[nodiscard]] Result<> check_size(std::uint64_t virtual_size) const;
};

/// Reads and validates. Errors: EINVAL (not add-cow, nonsense), ENOTSUP (unknown features, header size, image format).
[[nodiscard]] Result<Header> read_header(Storage& storage);
/// The whole header area, names included. Errors: ENOSPC when the names do not fit.
[[nodiscard]] Result<std::vector<std::byte>> encode_header(const Header& header);
/// Sets the bits of all clusters. Not durable before a flush.
[[nodiscard]] Result<> set_all_bits(Storage& storage, const Header& header, std::uint64_t virtual_size);
/// Writes the compatible features alone, inside the first sector. Not durable before a flush.
[[nodiscard]] Result<> write_compatible(Storage& storage, std::uint64_t compatible);

}  // namespace penstock::add_cow
