// SPDX-License-Identifier: Apache-2.0
#include "format/qed/header.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

#include <array>
#include <bit>

namespace penstock::qed {

namespace {

constexpr std::uint64_t kKnownFeatures = kBackingFile | kNeedCheck | kNoProbe;

Failure bad(std::string_view field, std::uint64_t value, std::string_view rule) {
  return fail(EINVAL, concat("QED header: ", field, " ", value, " is not ", rule));
}

Result<> read_backing_name(Storage& storage, Header& header) {
  if ((header.features & kBackingFile) == 0 || header.backing_size == 0) return {};
  const std::uint64_t end = std::uint64_t{header.backing_offset} + header.backing_size;
  if (header.backing_offset < kHeaderBytes || end > header.first_byte() || header.backing_size > kBackingNameMax) {
    return fail(EINVAL, concat("QED header: backing file name at ", header.backing_offset, ", ", header.backing_size,
                               " bytes, is not inside the header"));
  }
  header.backing_name.resize(header.backing_size);
  TRY(storage.read({header.backing_offset}, std::as_writable_bytes(std::span(header.backing_name))));
  if (header.backing_name.find('\0') != std::string::npos) {
    return fail(EINVAL, "QED header: the backing file name contains a NUL");
  }
  return {};
}

}  // namespace

std::uint64_t Header::image_size_max() const {
  constexpr std::uint64_t kMax = (1ULL << 63U) - 512;
  return reach_bits() >= 63 ? kMax : 1ULL << reach_bits();
}

unsigned Header::reach_bits() const {
  return 2 * static_cast<unsigned>(std::countr_zero(entries())) +
         static_cast<unsigned>(std::countr_zero(std::uint64_t{cluster_size}));
}

bool legal_cluster_size(std::uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kClusterSizeMin && bytes <= kClusterSizeMax;
}

bool legal_table_size(std::uint64_t clusters) {
  return std::has_single_bit(clusters) && clusters <= kTableSizeMax;
}

Result<std::uint64_t> file_end_of(Storage& storage, const Header& header) {
  return align_down(TRY(storage.size()), header.cluster_size);
}

Result<Header> read_header(Storage& storage) {
  std::array<std::byte, kHeaderBytes> bytes{};
  const std::span<const std::byte> in(bytes);
  TRY(storage.read({0}, bytes));
  if (load_le<std::uint32_t>(in, 0) != kMagic) return fail(EINVAL, "not a QED image");
  Header header;
  header.cluster_size = load_le<std::uint32_t>(in, 4);
  header.table_size = load_le<std::uint32_t>(in, 8);
  header.header_size = load_le<std::uint32_t>(in, 12);
  header.features = load_le<std::uint64_t>(in, 16);
  header.compatible = load_le<std::uint64_t>(in, 24);
  header.autoclear = load_le<std::uint64_t>(in, 32);
  header.l1_offset = {load_le<std::uint64_t>(in, 40)};
  header.image_size = load_le<std::uint64_t>(in, 48);
  header.backing_offset = load_le<std::uint32_t>(in, 56);
  header.backing_size = load_le<std::uint32_t>(in, 60);
  if (const auto unknown = header.features & ~kKnownFeatures; unknown != 0) {
    return fail(ENOTSUP, concat("QED image uses unknown features ", hex(unknown), "; a newer program made it"));
  }
  if (!legal_cluster_size(header.cluster_size)) {
    return bad("cluster size", header.cluster_size, "a power of two from 4096 to 67108864");
  }
  if (!legal_table_size(header.table_size)) return bad("table size", header.table_size, "1, 2, 4, 8 or 16 clusters");
  if (!is_aligned(header.image_size, 512) || header.image_size > header.image_size_max()) {
    return bad("image size", header.image_size, concat("a multiple of 512 up to ", header.image_size_max()));
  }
  if (header.header_size == 0 || header.first_byte() > UINT32_MAX) {
    return bad("header size", header.header_size, "a legal number of clusters");
  }
  if (!header.is_table_offset(header.l1_offset.value, TRY(file_end_of(storage, header)))) {
    return fail(EINVAL, concat("QED header: L1 table at host offset ", hex(header.l1_offset.value),
                               " is not inside the file; it may have been truncated"));
  }
  TRY(read_backing_name(storage, header));
  return header;
}

std::vector<std::byte> encode_header(const Header& header) {
  std::vector<std::byte> bytes(kHeaderBytes);
  const std::span<std::byte> out(bytes);
  store_le(out, 0, kMagic);
  store_le(out, 4, header.cluster_size);
  store_le(out, 8, header.table_size);
  store_le(out, 12, header.header_size);
  store_le(out, 16, header.features);
  store_le(out, 24, header.compatible);
  store_le(out, 32, header.autoclear);
  store_le(out, 40, header.l1_offset.value);
  store_le(out, 48, header.image_size);
  store_le(out, 56, header.backing_offset);
  store_le(out, 60, header.backing_size);
  return bytes;
}

Result<> write_header(Storage& storage, const Header& header) {
  return storage.write({0}, encode_header(header));
}

}  // namespace penstock::qed
