// SPDX-License-Identifier: Apache-2.0
/// The qcow2 header and its extensions. Source: penstock-formats(5), "qcow2: header".
#pragma once

#include <penstock/format.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace penstock::qcow2 {

inline constexpr std::uint32_t kMagic = 0x514649fbU;
inline constexpr std::uint64_t kL1EntriesMax = 4U << 20U;  ///< 32 MiB of table
inline constexpr std::uint64_t kRefcountTableBytesMax = 8U << 20U;
inline constexpr std::uint64_t kSnapshotsMax = 65536;
inline constexpr std::uint64_t kSnapshotTableBytesMax = 64U << 20U;
inline constexpr std::uint64_t kHostOffsetMax = 1ULL << 56U;  ///< of tables and standard clusters

enum Incompatible : std::uint64_t {
  kDirty = 1U << 0U,
  kCorrupt = 1U << 1U,
  kDataFile = 1U << 2U,
  kCompressionType = 1U << 3U,
  kExtendedL2 = 1U << 4U,
};
enum Compatible : std::uint64_t { kLazyRefcounts = 1U << 0U };
enum Autoclear : std::uint64_t { kBitmaps = 1U << 0U, kRawDataFile = 1U << 1U };

enum class ExtensionType : std::uint32_t {
  end = 0,
  backing_format = 0xe2792acaU,
  feature_names = 0x6803f857U,
  bitmaps = 0x23852875U,
  crypto = 0x0537be77U,
  data_file = 0x44415441U,
  auto_start = 0x5053544bU,  ///< "PSTK", penstock's own: u32 version 1, u32 flags (copy-on-read, stream)
};

struct Extension {
  std::uint32_t type = 0;
  std::vector<std::byte> data;
};

/// Byte positions of fields that are written on their own.
inline constexpr HostOffset kSizeField{24};           ///< u64
inline constexpr HostOffset kL1Field{36};             ///< u32 entries, u64 offset: one write switches both
inline constexpr HostOffset kRefcountTableField{48};  ///< u64 offset, u32 clusters: one write switches both
inline constexpr HostOffset kIncompatibleField{72};   ///< u64
inline constexpr HostOffset kAutoclearField{88};      ///< u64

/// The header as decoded; version 2 has zero features and refcount_order 4.
struct Header {
  std::uint32_t version = 3;
  std::uint32_t cluster_bits = 16;
  std::uint64_t size = 0;  ///< as stored; the disk has virtual_size() bytes
  std::uint32_t crypt_method = 0;
  std::uint32_t l1_entries = 0;
  HostOffset l1_offset;
  HostOffset refcount_table_offset;
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t snapshot_count = 0;
  HostOffset snapshots_offset;
  std::uint64_t incompatible = 0;
  std::uint64_t compatible = 0;
  std::uint64_t autoclear = 0;
  std::uint32_t refcount_order = 4;
  std::uint32_t header_length = 112;
  std::uint8_t compression_type = 0;      ///< 0 deflate, 1 zstd
  std::vector<std::byte> unknown_fields;  ///< bytes 105 to header_length, as read
  std::vector<Extension> extensions;      ///< in the order of the file, known and unknown, without the end marker
  std::string backing_name;

  [[nodiscard]] std::uint32_t cluster_size() const { return 1U << cluster_bits; }
  /// What the guest sees: `size` rounded down to 512, as QEMU does.
  [[nodiscard]] std::uint64_t virtual_size() const { return align_down(size, 512); }
  [[nodiscard]] bool extended_l2() const { return (incompatible & kExtendedL2) != 0; }
  [[nodiscard]] bool has_data_file() const { return (incompatible & kDataFile) != 0; }
  [[nodiscard]] bool raw_data_file() const { return (autoclear & kRawDataFile) != 0; }
  [[nodiscard]] bool lazy_refcounts() const { return (compatible & kLazyRefcounts) != 0; }
  [[nodiscard]] bool dirty() const { return (incompatible & kDirty) != 0; }
  [[nodiscard]] std::uint32_t l2_entry_bytes() const { return extended_l2() ? 16 : 8; }
  [[nodiscard]] std::uint32_t l2_entries() const { return cluster_size() / l2_entry_bytes(); }
  /// Guest bytes that one L2 table maps.
  [[nodiscard]] std::uint64_t l2_span() const { return std::uint64_t{l2_entries()} << cluster_bits; }
  [[nodiscard]] std::uint32_t subcluster_size() const { return extended_l2() ? cluster_size() / 32 : cluster_size(); }
  [[nodiscard]] std::uint32_t refcount_bits() const { return 1U << refcount_order; }
  [[nodiscard]] std::uint64_t refcount_max() const { return ~0ULL >> (64U - refcount_bits()); }
  /// Host clusters that one refcount block counts.
  [[nodiscard]] std::uint64_t refcounts_per_block() const {
    return std::uint64_t{cluster_size()} * 8 / refcount_bits();
  }

  /// Null when there is none of that type.
  [[nodiscard]] const Extension* extension(ExtensionType type) const;
  [[nodiscard]] std::string backing_format() const;  ///< empty when not stored
  [[nodiscard]] std::string data_file_name() const;  ///< empty when not stored
};

/// Who reads the header: what one refuses another must show or mend.
enum class HeaderUse : std::uint8_t {
  read,   ///< refuses what cannot be read (encrypted, unknown incompatible features, tables wholly behind the end)
  write,  ///< refuses corrupt images besides (EACCES)
  check,  ///< allows corrupt images and a refcount table of 0 clusters or behind the end of the file
  info,   ///< allows encrypted images too
};

/// Reads and validates header and extensions; memory is bounded by the cluster size.
/// Errors: EINVAL (not qcow2, too short, nonsense), ENOTSUP (version, feature, encryption: by name), EFBIG, EACCES,
/// EIO.
[[nodiscard]] Result<Header> read_header(Storage& storage, HeaderUse use);

/// The whole of cluster 0: fields, extensions, end marker, backing name.
/// Errors: ENOSPC when it does not fit one cluster.
[[nodiscard]] Result<std::vector<std::byte>> encode_header(const Header& header);

/// Writes one big-endian field at `at`. Not durable before a flush.
[[nodiscard]] Result<> write_header_field(Storage& storage, HostOffset at, std::uint64_t value);
/// Switches to another active L1 table with one write of 12 bytes. Not durable before a flush.
[[nodiscard]] Result<> write_l1_switch(Storage& storage, std::uint32_t entries, HostOffset offset);
/// Switches to another refcount table with one write of 12 bytes. Not durable before a flush.
[[nodiscard]] Result<> write_refcount_table_switch(Storage& storage, HostOffset offset, std::uint32_t clusters);

}  // namespace penstock::qcow2
