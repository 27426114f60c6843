// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/info.hpp"

#include "base/text.hpp"
#include "format/qcow2/bitmaps.hpp"
#include "format/qcow2/header_change.hpp"
#include "format/qcow2/snapshots.hpp"

namespace penstock::qcow2 {

namespace {

std::vector<InfoItem> items_of(const Header& header) {
  std::vector<InfoItem> items;
  const bool version_3 = header.version >= 3;
  items.push_back({"compat", "compat", std::string(version_3 ? "1.1" : "0.10")});
  items.push_back(
      {"compression type", "compression-type", std::string(header.compression_type == 0 ? "zlib" : "zstd")});
  if (version_3) items.push_back({"lazy refcounts", "lazy-refcounts", header.lazy_refcounts()});
  items.push_back({"refcount bits", "refcount-bits", std::uint64_t{header.refcount_bits()}});
  if (header.crypt_method != 0) {
    items.push_back({"format", "encrypt.format", std::string(header.crypt_method == 1 ? "aes" : "luks")});
  }
  const AutoStart start = auto_start_of(header);
  if (start.copy_on_read) items.push_back({"copy on read", "copy-on-read", true});
  if (start.stream) items.push_back({"stream", "stream", true});
  if (!version_3) return items;
  if (header.has_data_file()) {
    items.push_back({"data file", "data-file", printable(header.data_file_name())});
    items.push_back({"data file raw", "data-file-raw", header.raw_data_file()});
  }
  items.push_back({"corrupt", "corrupt", (header.incompatible & kCorrupt) != 0});
  items.push_back({"extended l2", "extended-l2", header.extended_l2()});
  return items;
}

}  // namespace

Result<FormatInfo> describe(Storage& storage, const Header& header) {
  FormatInfo info;
  info.cluster_size = header.cluster_size();
  info.dirty = header.dirty();
  info.encrypted = header.crypt_method != 0;
  info.items = items_of(header);
  if (auto table = read_snapshots(storage, header)) {
    for (Snapshot& snapshot : table->snapshots) info.snapshots.push_back(std::move(snapshot.info));
  } else if (table.error().is(EIO)) {
    return Failure(table.error());
  } else {
    info.items.push_back({"snapshot table", "snapshot-table", table.error().message()});
  }
  if (auto bitmaps = read_bitmaps(storage, header)) {
    for (Bitmap& bitmap : *bitmaps) info.bitmaps.push_back(std::move(bitmap.info));
  } else if (bitmaps.error().is(EIO)) {
    return Failure(bitmaps.error());
  } else {
    info.items.push_back({"bitmap directory", "bitmap-directory", bitmaps.error().message()});
  }
  return info;
}

}  // namespace penstock::qcow2
