// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/header.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace penstock::qcow2 {

namespace {

constexpr std::uint32_t kHeaderLengthV2 = 72;
constexpr std::uint32_t kHeaderLengthV3 = 104;  ///< the least that version 3 allows
constexpr std::uint32_t kClusterBitsMin = 9;
constexpr std::uint32_t kClusterBitsMax = 21;  ///< QEMU's limit; the format itself has none
constexpr std::uint32_t kClusterBitsMinExtended = 14;
constexpr std::uint32_t kBackingNameMax = 1023;
constexpr std::size_t kDataFileNameMax = 4095;  // no path of the host is longer
constexpr std::size_t kBackingFormatMax = 15;   ///< QEMU's limit
constexpr std::uint64_t kBitmapsMax = 65535;
constexpr std::uint64_t kBitmapDirectoryBytesMax = 64U << 20U;
constexpr std::uint64_t kSnapshotEntryBytesMin = 40;
constexpr std::uint64_t kKnownIncompatible = kDirty | kCorrupt | kDataFile | kCompressionType | kExtendedL2;
constexpr std::size_t kFeatureItemBytes = 48;

using Bytes = std::span<const std::byte>;

/// What the fields say of the backing name and the extensions' room.
struct Layout {
  std::uint64_t backing_offset = 0;
  std::uint32_t backing_length = 0;
};

Failure invalid(std::string message) {
  return fail(EINVAL, std::move(message));
}

std::string as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<> decode_version_3(Bytes head, Header& header) {
  header.incompatible = load_be<std::uint64_t>(head, 72);
  header.compatible = load_be<std::uint64_t>(head, 80);
  header.autoclear = load_be<std::uint64_t>(head, 88);
  header.refcount_order = load_be<std::uint32_t>(head, 96);
  header.header_length = load_be<std::uint32_t>(head, 100);
  if (header.header_length < kHeaderLengthV3) {
    return invalid(concat("header length ", header.header_length, " is less than ", kHeaderLengthV3));
  }
  if (header.header_length > header.cluster_size()) {
    return invalid(concat("header length ", header.header_length, " exceeds the cluster size"));
  }
  return {};
}

/// The fields up to byte 104, which are enough to know how long the rest is.
Result<Layout> decode_fields(Bytes head, Header& header) {
  if (load_be<std::uint32_t>(head, 0) != kMagic) return invalid("not in qcow2 format");
  header.version = load_be<std::uint32_t>(head, 4);
  if (header.version != 2 && header.version != 3) {
    return fail(ENOTSUP, concat("qcow2 version ", header.version, " is not supported, only 2 and 3 are"));
  }
  Layout layout{load_be<std::uint64_t>(head, 8), load_be<std::uint32_t>(head, 16)};
  header.cluster_bits = load_be<std::uint32_t>(head, 20);
  if (header.cluster_bits < kClusterBitsMin || header.cluster_bits > kClusterBitsMax) {
    return invalid(
        concat("cluster size of 2^", header.cluster_bits, " bytes is not supported, only 512 bytes to 2 MiB"));
  }
  header.size = load_be<std::uint64_t>(head, 24);
  header.crypt_method = load_be<std::uint32_t>(head, 32);
  header.l1_entries = load_be<std::uint32_t>(head, 36);
  header.l1_offset = {load_be<std::uint64_t>(head, 40)};
  header.refcount_table_offset = {load_be<std::uint64_t>(head, 48)};
  header.refcount_table_clusters = load_be<std::uint32_t>(head, 56);
  header.snapshot_count = load_be<std::uint32_t>(head, 60);
  header.snapshots_offset = {load_be<std::uint64_t>(head, 64)};
  header.header_length = kHeaderLengthV2;
  if (header.version == 3) TRY(decode_version_3(head, header));
  if (layout.backing_offset > header.cluster_size()) {
    return invalid(concat("backing file name at ", hex(layout.backing_offset), " lies outside the header cluster"));
  }
  if (layout.backing_offset == 0) layout.backing_length = 0;
  return layout;
}

Result<> check_backing_format(const Extension& extension) {
  if (extension.data.size() <= kBackingFormatMax) return {};
  return invalid(concat("backing format name of ", extension.data.size(), " bytes is longer than ", kBackingFormatMax));
}

Result<> check_bitmaps(const Header& header, const Extension& extension) {
  if ((header.autoclear & kBitmaps) == 0) return {};  // stale: as good as absent
  if (extension.data.size() != 24) return invalid("bitmaps extension has a wrong length");
  const auto count = load_be<std::uint32_t>(extension.data, 0);
  const auto reserved = load_be<std::uint32_t>(extension.data, 4);
  const auto directory_bytes = load_be<std::uint64_t>(extension.data, 8);
  const auto directory_offset = load_be<std::uint64_t>(extension.data, 16);
  if (reserved != 0) return invalid("bitmaps extension has a reserved field set");
  if (count == 0 || count > kBitmapsMax) return invalid(concat("bitmaps extension with ", count, " bitmaps"));
  if (!is_aligned(directory_offset, header.cluster_size())) {
    return invalid(concat("bitmap directory at ", hex(directory_offset), " is not cluster aligned"));
  }
  if (directory_bytes > kBitmapDirectoryBytesMax || !fits(directory_offset, directory_bytes, INT64_MAX)) {
    return invalid(concat("bitmap directory of ", directory_bytes, " bytes is too large"));
  }
  return {};
}

Result<> check_crypto(const Header& header, const Extension& extension) {
  if (header.crypt_method != 2) return invalid("crypto header extension in an image that is not encrypted with LUKS");
  if (extension.data.size() != 16) return invalid("crypto header extension has a wrong length");
  const auto offset = load_be<std::uint64_t>(extension.data, 0);
  const auto length = load_be<std::uint64_t>(extension.data, 8);
  if (!is_aligned(offset, header.cluster_size()) || !fits(offset, length, INT64_MAX)) {
    return invalid(concat("crypto header at ", hex(offset), " is not cluster aligned or too long"));
  }
  return {};
}

Result<> check_extension(const Header& header, const Extension& extension) {
  switch (static_cast<ExtensionType>(extension.type)) {
    case ExtensionType::backing_format:
      return check_backing_format(extension);
    case ExtensionType::bitmaps:
      return check_bitmaps(header, extension);
    case ExtensionType::data_file:
      if (extension.data.size() <= kDataFileNameMax) return {};
      return invalid(concat("data file name of ", extension.data.size(), " bytes is longer than ", kDataFileNameMax));
    case ExtensionType::crypto:
      return check_crypto(header, extension);
    default:
      return {};
  }
}

bool is_known(std::uint32_t type) {
  switch (static_cast<ExtensionType>(type)) {
    case ExtensionType::backing_format:
    case ExtensionType::feature_names:
    case ExtensionType::bitmaps:
    case ExtensionType::crypto:
    case ExtensionType::data_file:
    case ExtensionType::auto_start:
      return true;
    default:
      return false;
  }
}

/// Each extension is kept as it is, known or not, so that a rewrite loses nothing.
Result<> decode_extensions(Bytes area, std::uint64_t from, Header& header) {
  for (std::uint64_t at = from; at + 8 <= area.size();) {
    const auto type = load_be<std::uint32_t>(area, at);
    const auto length = load_be<std::uint32_t>(area, at + 4);
    if (type == static_cast<std::uint32_t>(ExtensionType::end)) return {};
    at += 8;
    if (is_known(type) && header.extension(static_cast<ExtensionType>(type)) != nullptr) {
      return invalid(concat("header extension ", hex(type), " is given twice"));
    }
    if (length > area.size() - at) {
      return invalid(concat("header extension ", hex(type), " of ", length, " bytes does not fit the header"));
    }
    const auto data = area.subspan(at, length);
    header.extensions.push_back({type, {data.begin(), data.end()}});
    at += align_up(length, 8);
  }
  return {};
}

/// "'bit name', bit 17" for each bit, from the image's own feature name table where it knows them.
std::string feature_names(const Header& header, std::uint64_t bits) {
  const Extension* table = header.extension(ExtensionType::feature_names);
  std::string names;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (((bits >> bit) & 1U) == 0) continue;
    std::string name = concat("bit ", bit);
    for (std::size_t at = 0; table != nullptr && at + kFeatureItemBytes <= table->data.size();
         at += kFeatureItemBytes) {
      const auto item = Bytes(table->data).subspan(at, kFeatureItemBytes);
      if (std::to_integer<unsigned>(item[0]) != 0 || std::to_integer<unsigned>(item[1]) != bit) continue;
      std::string given = as_text(item.subspan(2));
      given.resize(std::min(given.find('\0'), given.size()));
      if (!given.empty()) name = concat("'", printable(given), "'");
    }
    names.append(names.empty() ? "" : ", ").append(name);
  }
  return names;
}

Result<> check_features(const Header& header) {
  const auto unknown = header.incompatible & ~kKnownIncompatible;
  if (unknown != 0) {
    return fail(ENOTSUP, concat("uses features that penstock does not know: ", feature_names(header, unknown),
                                " (incompatible features ", hex(unknown), "); use a newer program"));
  }
  if (header.compression_type > 1) {
    return fail(ENOTSUP, concat("unknown compression type ", header.compression_type));
  }
  if (((header.incompatible & kCompressionType) != 0) != (header.compression_type != 0)) {
    return invalid("compression type and its feature bit contradict each other");
  }
  if (header.extended_l2() && header.cluster_bits < kClusterBitsMinExtended) {
    return invalid("extended L2 entries need clusters of at least 16384 bytes");
  }
  if (header.refcount_order > 6) {
    return invalid(concat("refcounts of 2^", header.refcount_order, " bits are not supported, 64 bits is the most"));
  }
  if (header.raw_data_file() && !header.has_data_file()) {
    return invalid("raw data file feature without an external data file");
  }
  if (header.raw_data_file() && !header.backing_name.empty()) {
    return invalid("raw external data file together with a backing file");
  }
  return {};
}

Result<> check_encryption(const Header& header, HeaderUse use) {
  if (header.crypt_method > 2) {
    return fail(ENOTSUP, concat("encrypted by unknown method ", header.crypt_method));
  }
  if (header.crypt_method == 2 && header.extension(ExtensionType::crypto) == nullptr) {
    return invalid("encrypted with LUKS but without a crypto header");
  }
  if (header.crypt_method == 0 || use == HeaderUse::info || use == HeaderUse::check) return {};
  return fail(ENOTSUP, concat("encrypted with ", header.crypt_method == 1 ? "AES" : "LUKS",
                              ", which penstock cannot read; decrypt it with 'qemu-img convert' first"));
}

/// A table's place, by the rules that hold before the file is looked at.
Result<> check_table(const Header& header, std::string_view what, HostOffset offset, std::uint64_t bytes) {
  if (!is_aligned(offset.value, header.cluster_size())) {
    return invalid(concat(what, " at ", hex(offset.value), " is not cluster aligned"));
  }
  if (!fits(offset.value, bytes, INT64_MAX)) {
    return invalid(concat(what, " at ", hex(offset.value), " is too far away"));
  }
  return {};
}

Result<> check_tables(const Header& header, HeaderUse use) {
  const std::uint64_t refcount_bytes = std::uint64_t{header.refcount_table_clusters} << header.cluster_bits;
  if (refcount_bytes > kRefcountTableBytesMax) {
    return fail(EFBIG, concat("refcount table of ", refcount_bytes, " bytes is too large"));
  }
  if (header.refcount_table_clusters == 0 && use != HeaderUse::check && use != HeaderUse::info) {
    return invalid("refcount table has no clusters; repair the image with 'penstock check -r all'");
  }
  TRY(check_table(header, "refcount table", header.refcount_table_offset, refcount_bytes));
  if (header.snapshot_count > kSnapshotsMax) {
    return fail(EFBIG, concat(header.snapshot_count, " snapshots are too many"));
  }
  TRY(check_table(header, "snapshot table", header.snapshots_offset, header.snapshot_count * kSnapshotEntryBytesMin));
  if (header.l1_entries > kL1EntriesMax) {
    return fail(EFBIG, concat("L1 table of ", header.l1_entries, " entries is too large"));
  }
  const std::uint64_t needed = divide_up(header.size, header.l2_span());
  if (needed > kL1EntriesMax) {
    return fail(EFBIG, concat("virtual size ", header.size, " is larger than clusters of ", header.cluster_size(),
                              " bytes allow"));
  }
  if (header.l1_entries < needed) {
    return invalid(concat("L1 table of ", header.l1_entries, " entries is too small for the virtual size"));
  }
  return check_table(header, "L1 table", header.l1_offset, std::uint64_t{header.l1_entries} * 8);
}

/// A table that is not in the file would read as empty, and the first write would hide all old data.
Result<> check_in_file(std::string_view what, HostOffset offset, std::uint64_t file_size) {
  if (offset.value == 0) return corrupt(concat(what, " lies over the header"));
  if (offset.value < file_size) return {};
  return corrupt(concat(what, " at ", hex(offset.value), " lies behind the end of the file; it was cut off"));
}

Result<> check_use(const Header& header, HeaderUse use, std::uint64_t file_size) {
  if (use == HeaderUse::check || use == HeaderUse::info) return {};
  if (use == HeaderUse::write && (header.incompatible & kCorrupt) != 0) {
    return fail(EACCES, "marked as corrupt; repair it with 'penstock check -r all', or open it read-only");
  }
  if (header.l1_entries != 0) TRY(check_in_file("L1 table", header.l1_offset, file_size));
  return check_in_file("refcount table", header.refcount_table_offset, file_size);
}

void decode_tail(Bytes cluster, Header& header) {
  if (header.header_length <= kHeaderLengthV3) return;
  header.compression_type = load_be<std::uint8_t>(cluster, 104);
  const auto unknown = cluster.subspan(105, header.header_length - 105);
  header.unknown_fields.assign(unknown.begin(), unknown.end());
}

Result<> decode_backing_name(Bytes cluster, const Layout& layout, Header& header) {
  const std::uint64_t room = std::min<std::uint64_t>(kBackingNameMax, header.cluster_size() - layout.backing_offset);
  if (layout.backing_length > room) {
    return invalid(concat("backing file name of ", layout.backing_length, " bytes is too long"));
  }
  header.backing_name = as_text(cluster.subspan(layout.backing_offset, layout.backing_length));
  return {};
}

}  // namespace

const Extension* Header::extension(ExtensionType type) const {
  const auto found = std::ranges::find(extensions, static_cast<std::uint32_t>(type), &Extension::type);
  return found == extensions.end() ? nullptr : &*found;
}

std::string Header::backing_format() const {
  const Extension* found = extension(ExtensionType::backing_format);
  return found == nullptr ? std::string() : as_text(found->data);
}

std::string Header::data_file_name() const {
  const Extension* found = extension(ExtensionType::data_file);
  return found == nullptr ? std::string() : as_text(found->data);
}

Result<Header> read_header(Storage& storage, HeaderUse use) {
  const std::uint64_t file_size = TRY(storage.size());
  const std::uint32_t alignment = std::max(1U, storage.facts().io_alignment);
  std::vector<std::byte> head(align_up(kHeaderLengthV3, alignment));
  TRY(storage.read({0}, head));
  if (file_size < 4 || load_be<std::uint32_t>(head, 0) != kMagic) return invalid("not in qcow2 format");
  if (file_size < kHeaderLengthV3) return invalid("qcow2 header is cut off; the file is too short");
  Header header;
  const Layout layout = TRY(decode_fields(head, header));

  std::vector<std::byte> cluster(align_up(header.cluster_size(), alignment));
  TRY(storage.read({0}, cluster));
  cluster.resize(header.cluster_size());
  decode_tail(cluster, header);
  TRY(decode_backing_name(cluster, layout, header));
  const auto area = layout.backing_offset == 0 ? Bytes(cluster) : Bytes(cluster).first(layout.backing_offset);
  const auto extensions = decode_extensions(area, header.header_length, header);
  // A newer format may lay out its header otherwise: say which feature it is before anything else.
  if ((header.incompatible & ~kKnownIncompatible) != 0) TRY(check_features(header));
  TRY(extensions);
  for (const Extension& extension : header.extensions) TRY(check_extension(header, extension));
  TRY(check_features(header));
  TRY(check_tables(header, use));
  TRY(check_encryption(header, use));
  TRY(check_use(header, use, file_size));
  return header;
}

}  // namespace penstock::qcow2
