// SPDX-License-Identifier: Apache-2.0
/// The QED header. Source: penstock-formats(5), "QED".
#pragma once

#include <penstock/format.hpp>

#include <string>

namespace penstock::qed {

inline constexpr std::uint32_t kMagic = 0x00444551;
inline constexpr std::size_t kHeaderBytes = 64;
inline constexpr std::uint32_t kClusterSizeMin = 4096;
inline constexpr std::uint32_t kClusterSizeMax = 64U << 20U;
inline constexpr std::uint32_t kTableSizeMax = 16;
inline constexpr std::uint32_t kBackingNameMax = 4095;

enum Feature : std::uint64_t { kBackingFile = 1, kNeedCheck = 2, kNoProbe = 4 };
enum Compatible : std::uint64_t { kCopyOnRead = 2, kStream = 4 };

/// The header as decoded, little-endian on disk.
struct Header {
  std::uint32_t cluster_size = 65536;  ///< bytes
  std::uint32_t table_size = 4;        ///< clusters in a table
  std::uint32_t header_size = 1;       ///< clusters
  std::uint64_t features = 0;
  std::uint64_t compatible = 0;
  std::uint64_t autoclear = 0;
  HostOffset l1_offset;
  std::uint64_t image_size = 0;  ///< virtual size, bytes, a multiple of 512
  std::uint32_t backing_offset = 0;
  std::uint32_t backing_size = 0;
  std::string backing_name;  ///< empty: none

  [[nodiscard]] std::uint64_t table_bytes() const { return std::uint64_t{table_size} * cluster_size; }
  [[nodiscard]] std::uint64_t entries() const { return table_bytes() / 8; }
  /// Guest bytes that one L2 table maps; at most 2^53.
  [[nodiscard]] std::uint64_t l2_span() const { return entries() * cluster_size; }
  /// The largest virtual size, at most 2^63 - 512.
  [[nodiscard]] std::uint64_t image_size_max() const;
  /// The tables lead to 2 to this power bytes.
  [[nodiscard]] unsigned reach_bits() const;
  /// First byte that tables and data may lie at.
  [[nodiscard]] std::uint64_t first_byte() const { return std::uint64_t{header_size} * cluster_size; }
  /// Whether a data cluster may lie at `offset` in a file of `file_end` bytes (whole clusters).
  [[nodiscard]] bool is_data_offset(std::uint64_t offset, std::uint64_t file_end) const {
    return is_aligned(offset, cluster_size) && offset >= first_byte() && offset < file_end;
  }
  /// Whether a whole table may lie at `offset`.
  [[nodiscard]] bool is_table_offset(std::uint64_t offset, std::uint64_t file_end) const {
    return is_data_offset(offset, file_end) && fits(offset, table_bytes(), file_end);
  }
};

[[nodiscard]] bool legal_cluster_size(std::uint64_t bytes);
[[nodiscard]] bool legal_table_size(std::uint64_t clusters);

/// Reads and validates. Errors: EINVAL (not QED, nonsense), ENOTSUP (unknown features, in hex), EIO.
[[nodiscard]] Result<Header> read_header(Storage& storage);
/// The 64 bytes, without the backing name.
[[nodiscard]] std::vector<std::byte> encode_header(const Header& header);
/// Rewrites the 64 bytes with one write inside the first sector. Not durable before a flush.
[[nodiscard]] Result<> write_header(Storage& storage, const Header& header);
/// Length of the file in whole clusters, bytes: what lies behind is nobody's.
[[nodiscard]] Result<std::uint64_t> file_end_of(Storage& storage, const Header& header);

}  // namespace penstock::qed
