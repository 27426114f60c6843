// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/table_scan.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/work_report.hpp"
#include "format/qcow2/bitmaps.hpp"

namespace penstock::qcow2 {

namespace {

/// As QEMU prints entries: hexadecimal without a prefix.
std::string bare_hex(std::uint64_t value) {
  return hex(value).substr(2);
}

/// A name from the image, which may be 64 KiB of anything.
std::string short_name(std::string_view name) {
  constexpr std::size_t kShown = 64;
  return printable(name.substr(0, kShown)) + (name.size() > kShown ? "..." : "");
}

constexpr std::uint64_t kBitmapEntryReserved = 0xff000000000001feULL;

/// A bitmap table entry with an offset may not say "all ones" besides.
bool is_bad_bitmap_entry(std::uint64_t entry, std::uint32_t cluster_size) {
  const std::uint64_t offset = entry & kOffsetMask;
  if ((entry & kBitmapEntryReserved) != 0) return true;
  return offset != 0 && ((entry & 1U) != 0 || !is_aligned(offset, cluster_size));
}

}  // namespace

bool is_repairable(const Header& header, const L2Entry& entry) {
  const auto kind = cluster_kind(header, entry);
  if (kind != ClusterKind::normal && kind != ClusterKind::zero_allocated) return false;
  if (is_aligned(entry_offset(entry.descriptor).value, header.cluster_size()) || header.version < 3) return false;
  if (!header.extended_l2()) return kind == ClusterKind::zero_allocated;
  return static_cast<std::uint32_t>(entry.bitmap) == 0;
}

Result<> TableScan::run() {
  use_.count({0}, header_.cluster_size(), 1, findings_);
  TRY(scan_active());
  TRY(scan_snapshots());
  use_.count(header_.refcount_table_offset, std::uint64_t{header_.refcount_table_clusters} << header_.cluster_bits, 1,
             findings_);
  if (const Extension* crypto = header_.extension(ExtensionType::crypto)) {
    use_.count({load_be<std::uint64_t>(crypto->data, 0)}, load_be<std::uint64_t>(crypto->data, 8), 1, findings_);
  }
  return scan_bitmaps();
}

Result<> TableScan::scan_l1_entry(std::uint64_t entry, ReferenceTally& tables, bool active) {
  const HostOffset offset = entry_offset(entry);
  if ((entry & kL1Reserved) != 0) {
    findings_.corruption(concat("ERROR found L1 entry with reserved bits set: ", bare_hex(entry)));
  }
  use_.count(offset, header_.cluster_size(), 1, findings_);
  if (is_aligned(offset.value, header_.cluster_size())) {
    tables.add(offset.value >> header_.cluster_bits);
    return {};
  }
  findings_.corruption(
      concat("ERROR l2_offset=", bare_hex(offset.value), ": Table is not cluster aligned; L1 entry corrupted"));
  // What it names by its shifted entries stays counted, so that nothing of it is given away.
  return scan_l2({.offset = offset, .active = active});
}

Result<> TableScan::scan_active() {
  use_.count(header_.l1_offset, std::uint64_t{header_.l1_entries} * 8, 1, findings_);
  ReferenceTally tables;
  TRY(reader_.for_each_entry(header_.l1_offset, header_.l1_entries,
                             [&](std::uint64_t, std::uint64_t entry) { return scan_l1_entry(entry, tables, true); }));
  // In guest order, which tells how fragmented the image is.
  return reader_.for_each_entry(header_.l1_offset, header_.l1_entries, [&](std::uint64_t index, std::uint64_t entry) {
    tell_work(std::min(index * header_.l2_span(), header_.virtual_size()), header_.virtual_size());
    const HostOffset offset = entry_offset(entry);
    const std::uint64_t cluster = offset.value >> header_.cluster_bits;
    const std::uint64_t times = tables.get(cluster);
    if (times == 0 || !is_aligned(offset.value, header_.cluster_size())) return Result<>();
    tables.subtract(cluster, times);
    use_.count_as_l2(cluster, times);
    return scan_l2({.offset = offset, .times = times, .active = true, .guest = {index * header_.l2_span()}});
  });
}

Result<> TableScan::scan_snapshots() {
  const SnapshotTable table = TRY(read_snapshots(reader_.storage(), header_, SnapshotPlaces::any));
  if (header_.has_data_file() && !table.snapshots.empty()) {
    findings_.corruption(concat("ERROR ", table.snapshots.size(), " snapshots in image with data file"));
  }
  ReferenceTally tables;
  for (std::size_t index = 0; index < table.snapshots.size(); ++index) {
    const Snapshot& snapshot = table.snapshots[index];
    const std::string who = concat("ERROR snapshot ", short_name(snapshot.info.id), " (",
                                   short_name(snapshot.info.name), ") l1_offset=", hex(snapshot.l1_offset.value), ": ");
    if (header_.version >= 3 && snapshot.extra_bytes < 16) {
      findings_.corruption(concat("ERROR snapshot table entry ", index, " is incomplete"));
    }
    if (!is_aligned(snapshot.l1_offset.value, header_.cluster_size())) {
      findings_.corruption(who + "L1 table is not cluster aligned; snapshot table entry corrupted");
      continue;
    }
    if (snapshot.l1_entries > kL1EntriesMax) {
      findings_.corruption(who + "L1 table is too large; snapshot table entry corrupted");
      continue;
    }
    use_.count(snapshot.l1_offset, std::uint64_t{snapshot.l1_entries} * 8, 1, findings_);
    TRY(reader_.for_each_entry(snapshot.l1_offset, snapshot.l1_entries, [&](std::uint64_t, std::uint64_t entry) {
      return scan_l1_entry(entry, tables, false);
    }));
  }
  tables.seal();
  for (std::uint64_t cluster = 0; (cluster = tables.next(cluster, tables.end())) < tables.end(); ++cluster) {
    use_.count_as_l2(cluster, tables.get(cluster));
    TRY(scan_l2({.offset = {cluster << header_.cluster_bits}, .times = tables.get(cluster)}));
  }
  use_.count(header_.snapshots_offset, table.bytes, 1, findings_);
  return {};
}

Result<> TableScan::scan_bitmaps() {
  const BitmapDirectory directory = bitmap_directory(header_);
  if (directory.count == 0) return {};
  use_.count(directory.place.offset, directory.place.length, 1, findings_);
  for (const Bitmap& bitmap : TRY(read_bitmaps(reader_.storage(), header_))) {
    use_.count(bitmap.table_offset, std::uint64_t{bitmap.table_entries} * 8, 1, findings_);
    TRY(reader_.for_each_entry(
        bitmap.table_offset, bitmap.table_entries, [&](std::uint64_t index, std::uint64_t entry) -> Result<> {
          const HostOffset offset = entry_offset(entry);
          if (is_bad_bitmap_entry(entry, header_.cluster_size())) {
            findings_.corruption(
                concat("ERROR bitmap '", short_name(bitmap.info.name), "' table entry ", index, ": ", bare_hex(entry)));
          } else if (offset.value != 0) {
            use_.count(offset, header_.cluster_size(), 1, findings_);
          }
          return {};
        }));
  }
  return {};
}

Result<> TableScan::scan_l2(const Visit& visit) {
  next_contiguous_ = 0;
  if (!TRY(reader_.read(visit.offset, table_))) return {};
  for (std::uint32_t index = 0; index < header_.l2_entries(); ++index) {
    const L2Entry entry = load_entry(header_, table_, index);
    if (entry != L2Entry{}) scan_entry(entry, index, visit);
  }
  return {};
}

void TableScan::scan_entry(const L2Entry& entry, std::uint32_t index, const Visit& visit) {
  const auto kind = cluster_kind(header_, entry);
  const GuestOffset guest = visit.guest + (std::uint64_t{index} << header_.cluster_bits);
  if (kind == ClusterKind::compressed) return scan_compressed(entry, index, visit);
  if ((entry.descriptor & kL2Reserved) != 0) {
    findings_.corruption(concat("ERROR found l2 entry with reserved bits set: ", bare_hex(entry.descriptor)),
                         visit.times);
  } else if (has_reserved_bits(header_, entry)) {
    findings_.corruption(concat("ERROR zero flag in an extended l2 entry: ", bare_hex(entry.descriptor)), visit.times);
  }
  if (header_.version < 3 && (entry.descriptor & kZeroFlag) != 0) {
    findings_.corruption(concat("ERROR zero cluster in a version 2 image: ", bare_hex(entry.descriptor)), visit.times);
  }
  if (kind == ClusterKind::normal || kind == ClusterKind::zero_allocated) return scan_allocated(entry, visit, guest);
  if (kind == ClusterKind::unallocated && (entry.descriptor & kCopied) != 0) {
    findings_.corruption(
        concat("ERROR L2 entry is marked as allocated without a host cluster: ", bare_hex(entry.descriptor)),
        visit.times);
  }
  const auto allocated = static_cast<std::uint32_t>(entry.bitmap);
  if (header_.extended_l2() && allocated != 0) {
    findings_.corruption("ERROR: Unallocated cluster has non-zero subcluster allocation map", visit.times);
  } else if (header_.extended_l2() && (allocated & (entry.bitmap >> 32U)) != 0) {
    findings_.corruption("ERROR: Unallocated cluster has corrupted subcluster allocation bitmap", visit.times);
  }
}

void TableScan::scan_compressed(const L2Entry& entry, std::uint32_t index, const Visit& visit) {
  const PackedRun packed = packed_run(header_, entry.descriptor);
  if ((entry.descriptor & kCopied) != 0) {
    findings_.corruption(
        concat("ERROR: coffset=", hex(packed.offset.value), ": copied flag must never be set for compressed clusters"),
        visit.times);
  }
  if (header_.has_data_file()) {
    findings_.corruption(concat("ERROR compressed cluster ", index, " with data file, entry=", hex(entry.descriptor)),
                         visit.times);
    return;
  }
  if (entry.bitmap != 0) {
    findings_.corruption(concat("ERROR compressed cluster ", index,
                                " with non-zero subcluster allocation bitmap, entry=", hex(entry.descriptor)),
                         visit.times);
    use_.keep_free(packed.offset, packed.length);
    return;
  }
  use_.count_packed(packed.offset, packed.length, visit.times, findings_);
  if (!visit.active) return;
  findings_.report.allocated_clusters += visit.times;
  findings_.report.compressed_clusters += visit.times;
  // Packed clusters share sectors with their neighbours, which have to be read again: fragmented by nature.
  findings_.report.fragmented_clusters += visit.times;
}

void TableScan::scan_allocated(const L2Entry& entry, const Visit& visit, GuestOffset guest) {
  const HostOffset offset = entry_offset(entry.descriptor);
  const bool aligned = is_aligned(offset.value, header_.cluster_size());
  // Counted all the same: the cluster is not free for others.
  if (header_.extended_l2() && ((entry.bitmap >> 32U) & entry.bitmap) != 0) {
    findings_.corruption(concat("ERROR offset=", bare_hex(offset.value),
                                ": Allocated cluster has corrupted subcluster allocation bitmap"),
                         visit.times);
  }
  if (!aligned) {
    const bool holds_data =
        header_.extended_l2() ? static_cast<std::uint32_t>(entry.bitmap) != 0 : (entry.descriptor & kZeroFlag) == 0;
    findings_.corruption(concat("ERROR offset=", bare_hex(offset.value), ": ", holds_data ? "Data" : "Preallocated",
                                " cluster is not properly aligned; L2 entry corrupted."),
                         visit.times);
    if (is_repairable(header_, entry)) ++repairable_entries_;
  }
  if (header_.has_data_file()) {
    if (visit.active && aligned && offset.value != guest.value) {
      findings_.corruption(concat("ERROR offset=", bare_hex(offset.value), ": is not the guest offset ",
                                  bare_hex(guest.value), " in the external data file"),
                           visit.times);
    }
  } else {
    use_.count(offset, header_.cluster_size(), visit.times, findings_);
  }
  // QEMU takes a preallocated zero cluster at offset 0 of a data file for a plain one.
  if (visit.active && (offset.value != 0 || (entry.descriptor & kZeroFlag) == 0)) count_fragment(offset, visit);
}

void TableScan::count_fragment(HostOffset offset, const Visit& visit) {
  findings_.report.allocated_clusters += visit.times;
  if (next_contiguous_ != 0 && offset.value != next_contiguous_) findings_.report.fragmented_clusters += visit.times;
  next_contiguous_ = offset.value + header_.cluster_size();
}

}  // namespace penstock::qcow2
