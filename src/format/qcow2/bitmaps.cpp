// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/bitmaps.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

namespace penstock::qcow2 {

namespace {

constexpr std::size_t kFixedBytes = 24;
constexpr std::uint32_t kNameMax = 1023;
constexpr std::uint32_t kGranularityBitsMin = 9;  ///< QEMU's limits; the format allows 0 to 63
constexpr std::uint32_t kGranularityBitsMax = 31;
constexpr std::uint32_t kTableEntriesMax = 0x8000000;  ///< QEMU's BME_MAX_TABLE_SIZE
constexpr std::uint32_t kInUse = 1;
constexpr std::uint32_t kAuto = 2;
constexpr std::uint32_t kExtraDataCompatible = 4;

using Bytes = std::span<const std::byte>;

std::string as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Failure broken(std::size_t index, std::string_view what) {
  return corrupt(concat("bitmap ", index, ": ", what));
}

Result<> check_entry(const Header& header, const Bitmap& bitmap, std::uint32_t granularity_bits, std::size_t index) {
  if (!is_aligned(bitmap.table_offset.value, header.cluster_size()) || bitmap.table_offset.value == 0) {
    return broken(index, concat("table at ", hex(bitmap.table_offset.value), " is not cluster aligned"));
  }
  if (bitmap.table_entries == 0 || bitmap.table_entries > kTableEntriesMax) return broken(index, "table size");
  if (!fits(bitmap.table_offset.value, std::uint64_t{bitmap.table_entries} * 8, INT64_MAX)) {
    return broken(index, "table is too far away");
  }
  if (granularity_bits < kGranularityBitsMin || granularity_bits > kGranularityBitsMax) {
    return broken(index, concat("granularity of 2^", granularity_bits, " bytes"));
  }
  if (bitmap.info.name.empty() || bitmap.info.name.size() > kNameMax) return broken(index, "length of its name");
  return {};
}

}  // namespace

BitmapDirectory bitmap_directory(const Header& header) {
  const Extension* extension = header.extension(ExtensionType::bitmaps);
  if (extension == nullptr || (header.autoclear & kBitmaps) == 0) return {};
  return {load_be<std::uint32_t>(extension->data, 0),
          {{load_be<std::uint64_t>(extension->data, 16)}, load_be<std::uint64_t>(extension->data, 8)}};
}

Result<std::vector<Bitmap>> read_bitmaps(Storage& storage, const Header& header) {
  std::vector<Bitmap> bitmaps;
  const BitmapDirectory directory = bitmap_directory(header);
  if (directory.count == 0) return bitmaps;
  const std::uint64_t file_size = TRY(storage.size());
  if (!fits(directory.place.offset.value, directory.place.length, align_up(file_size, header.cluster_size()))) {
    return corrupt("bitmap directory reaches past the end of the file");
  }
  std::vector<std::byte> buffer(directory.place.length);
  TRY(storage.read(directory.place.offset, buffer));
  const Bytes bytes(buffer);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t index = bitmaps.size();
    if (index == directory.count) return corrupt("bitmap directory is longer than its bitmaps");
    if (bytes.size() - at < kFixedBytes) return broken(index, "entry reaches past the end of the directory");
    const Bytes fixed = bytes.subspan(at, kFixedBytes);
    Bitmap bitmap;
    bitmap.table_offset = {load_be<std::uint64_t>(fixed, 0)};
    bitmap.table_entries = load_be<std::uint32_t>(fixed, 8);
    bitmap.flags = load_be<std::uint32_t>(fixed, 12);
    const std::uint32_t granularity_bits = load_be<std::uint8_t>(fixed, 17);
    const std::uint64_t name_bytes = load_be<std::uint16_t>(fixed, 18);
    const std::uint64_t extra_bytes = load_be<std::uint32_t>(fixed, 20);
    const std::uint64_t length = align_up(kFixedBytes + extra_bytes + name_bytes, 8);
    if (length > bytes.size() - at) return broken(index, "entry reaches past the end of the directory");
    bitmap.info.name = as_text(bytes.subspan(at + kFixedBytes + extra_bytes, name_bytes));
    TRY(check_entry(header, bitmap, granularity_bits, index));
    bitmap.info.granularity = 1ULL << granularity_bits;
    if ((bitmap.flags & kInUse) != 0) bitmap.info.flags.emplace_back("in-use");
    if ((bitmap.flags & kAuto) != 0) bitmap.info.flags.emplace_back("auto");
    if (extra_bytes != 0 && (bitmap.flags & kExtraDataCompatible) == 0) return broken(index, "unknown extra data");
    bitmaps.push_back(std::move(bitmap));
    at += length;
  }
  if (bitmaps.size() != directory.count) return corrupt("bitmap directory is shorter than its bitmaps");
  return bitmaps;
}

}  // namespace penstock::qcow2
