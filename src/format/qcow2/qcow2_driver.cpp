// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/qcow2_driver.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"
#include "format/qcow2/check.hpp"
#include "format/qcow2/compressed.hpp"
#include "format/qcow2/header_change.hpp"
#include "format/qcow2/info.hpp"
#include "format/qcow2/snapshots.hpp"

namespace penstock::qcow2 {

namespace {

Result<std::shared_ptr<Storage>> open_data_file(const Header& header, const FormatOpenOptions& options) {
  const std::string name = header.data_file_name();
  if (name.empty()) return fail(EINVAL, "the name of the external data file is missing");
  if (!options.open_file) {
    return fail(EACCES, concat("uses the external data file '", printable(name), "', which was not allowed"));
  }
  auto data = options.open_file(name, options.writable);
  if (!data) return Failure(data.error());
  return data;
}

bool can_grow(Storage& storage, std::uint64_t size) {
  return storage.facts().size_max > size;
}

}  // namespace

Driver::Driver(std::shared_ptr<Storage> storage, std::shared_ptr<Storage> data, Header header, bool writable,
               std::uint64_t cache_bytes)
    : storage_(std::move(storage)),
      data_(std::move(data)),
      geometry_{header.cluster_size(), header.subcluster_size()},
      l2_span_(header.l2_span()),
      subclusters_(header.extended_l2() ? 32 : 1),
      compression_type_(header.compression_type),
      writable_(writable),
      table_cache_bytes_(cache_bytes),
      virtual_size_(header.virtual_size()),
      header_(std::move(header)),
      hides_backing_(!header_.backing_name.empty()),
      l2_cache_(*storage_, geometry_.cluster_size, cache_bytes),
      refcounts_(*storage_, header_, cache_bytes / 4),
      allocator_(*storage_, header_, refcounts_, metadata_) {}

Result<std::unique_ptr<FormatDriver>> Driver::open(std::shared_ptr<Storage> storage, const FormatOpenOptions& options) {
  const auto use = options.for_info ? HeaderUse::info : options.writable ? HeaderUse::write : HeaderUse::read;
  auto header = TRY(read_header(*storage, use));
  auto data = storage;
  if (header.has_data_file() && !options.for_info) data = TRY(open_data_file(header, options));
  if (header.dirty() && options.writable) {
    TRY(repair_dirty(storage, options));
    header = TRY(read_header(*storage, use));
  } else if (has_open_flag(header) && options.writable) {
    TRY(give_back_leaks(storage));
    header = TRY(read_header(*storage, use));
  }
  std::unique_ptr<Driver> driver(
      new Driver(storage, std::move(data), std::move(header), options.writable, options.table_cache_bytes));
  if (!options.for_info) {
    const std::uint64_t file_size = TRY(storage->size());
    const FlushLock flush_lock(driver->flush_mutex_);
    const ChangeLock lock(driver->mutex_);
    TRY(driver->load_tables(file_size));
    // An image that nothing is allocated in stays as it is, also when its last cluster is cut short.
    driver->covered_end_ = driver->allocator_.end_of_use();
  }
  return driver;
}

Result<> Driver::load_tables(std::uint64_t file_size) {
  allocator_.start(file_size, can_grow(*storage_, file_size));
  // A table may claim more than the file holds: what is not there reads as zero and takes no memory.
  const std::uint64_t present = std::min<std::uint64_t>(
      header_.l1_entries, divide_up(file_size - std::min(file_size, header_.l1_offset.value), 8));
  // In pieces, and up to the last entry in use: a hole of 32 MiB is an empty table.
  constexpr std::uint64_t kPieceEntries = 128U << 10U;
  std::vector<std::byte> piece;
  for (std::uint64_t first = 0; first < present; first += kPieceEntries) {
    piece.resize(std::min(present - first, kPieceEntries) * 8);
    TRY(storage_->read(header_.l1_offset + first * 8, piece));
    for (std::uint64_t index = 0; index < piece.size() / 8; ++index) {
      const auto entry = load_be<std::uint64_t>(piece, index * 8);
      if (entry == 0) continue;
      l1_.resize(first + index + 1);
      l1_[first + index] = entry;
    }
  }
  if (writable_) TRY(refcounts_.load(allocator_.end_of_use()));
  return protect_metadata();
}

Result<> Driver::protect(HostOffset offset, std::uint64_t bytes, std::string_view what) {
  const std::uint64_t first = offset.value / geometry_.cluster_size;
  const std::uint64_t count = divide_up(bytes, geometry_.cluster_size);
  // Read-only, two structures in one place do no harm: what is wrong with them shows when they are read.
  if (writable_ && metadata_.fixed.overlaps(first, count)) {
    return corrupt(
        concat(what, " at host offset ", hex(offset.value), " overlaps other metadata; run penstock check -r all"));
  }
  metadata_.fixed.insert(first, count);
  return {};
}

Result<> Driver::protect_snapshots(const SnapshotTable& table) {
  TRY(protect(header_.snapshots_offset, table.bytes, "snapshot table"));
  for (const Snapshot& snapshot : table.snapshots) {
    TRY(protect(snapshot.l1_offset, std::uint64_t{snapshot.l1_entries} * 8, "L1 table of a snapshot"));
  }
  return {};
}

Result<> Driver::protect_metadata() {
  TRY(protect({0}, geometry_.cluster_size, "header"));
  TRY(protect(header_.l1_offset, std::uint64_t{header_.l1_entries} * 8, "L1 table"));
  TRY(protect(header_.refcount_table_offset, std::uint64_t{header_.refcount_table_clusters} * geometry_.cluster_size,
              "refcount table"));
  for (const std::uint64_t entry : refcounts_.entries()) {
    const bool usable = is_aligned(entry, geometry_.cluster_size) && entry < allocator_.end_of_use();
    if (entry != 0 && usable) TRY(protect({entry}, geometry_.cluster_size, "refcount block"));
  }
  if (header_.snapshot_count != 0) {
    const auto snapshots = read_snapshots(*storage_, header_);
    // Without them the active disk can be read all the same.
    if (!snapshots && writable_) return Failure(snapshots.error());
    if (snapshots) TRY(protect_snapshots(*snapshots));
  }
  for (const std::uint64_t entry : l1_) {
    const std::uint64_t cluster = entry_offset(entry).value / geometry_.cluster_size;
    if (cluster == 0 || metadata_.fixed.contains(cluster)) continue;
    if (metadata_.l2_tables.contains(cluster)) doubly_linked_.insert(cluster);
    metadata_.l2_tables.insert(cluster);
  }
  return {};
}

Capabilities Driver::capabilities() const noexcept {
  return {.compressed = true,
          .sparse_data = false,
          .resize = true,
          .always_in_place = false,
          .pack = data_ == storage_,
          .backing = true};
}

std::vector<Storage*> Driver::files() {
  if (data_ == storage_) return {storage_.get()};
  return {storage_.get(), data_.get()};
}

Result<FormatInfo> Driver::info() {
  const SharedLock lock(mutex_);
  return describe(*storage_, header_);
}

Mapping Driver::map_absent_tables(GuestRange want) const {
  std::uint64_t index = l1_index(want.offset);
  std::uint64_t end = (index + 1) * l2_span_;
  while (end < want.end().value && l1_entry(++index) == 0) end += l2_span_;
  Mapping mapping;
  mapping.length = std::min(want.length, end - want.offset.value);
  return mapping;
}

Result<Mapping> Driver::map_in_cluster(const TableHandle& table, GuestRange want) {
  const GuestOffset cluster{align_down(want.offset.value, geometry_.cluster_size)};
  const L2Entry entry = TRY(checked_entry(table, cluster));
  const std::uint64_t skip = want.offset - cluster;
  const bool own = writable_ && (entry.descriptor & kCopied) != 0 && !refuses_changes(entry);
  Mapping mapping;
  mapping.length = geometry_.cluster_size - skip;
  switch (cluster_kind(header_, entry)) {
    case ClusterKind::unallocated:
    case ClusterKind::zero_plain:
      break;
    case ClusterKind::compressed: {
      const PackedRun packed = packed_run(header_, entry.descriptor);
      mapping.kind = MappingKind::compressed;
      mapping.storage = storage_.get();
      mapping.host_offset = packed.offset;
      mapping.packed_length = packed.length;
      mapping.cluster = cluster;
      return mapping;
    }
    case ClusterKind::zero_allocated:
    case ClusterKind::normal:
      mapping.storage = data_.get();
      mapping.host_offset = entry_offset(entry.descriptor) + skip;
      break;
  }
  if (subclusters_ == 1) {
    switch (cluster_kind(header_, entry)) {
      case ClusterKind::zero_plain:
      case ClusterKind::zero_allocated:
        mapping.kind = MappingKind::zero;
        break;
      case ClusterKind::normal:
        mapping.kind = MappingKind::data;
        mapping.in_place = own;
        break;
      default:
        break;
    }
    return mapping;
  }
  const auto first = static_cast<unsigned>(skip / geometry_.allocation_unit);
  const SubclusterKind kind = subcluster_kind(entry, first);
  unsigned end = first + 1;
  while (end < subclusters_ && subcluster_kind(entry, end) == kind) ++end;
  mapping.length = std::uint64_t{end} * geometry_.allocation_unit - skip;
  if (kind == SubclusterKind::unallocated) mapping.storage = nullptr;
  if (kind == SubclusterKind::zero) mapping.kind = MappingKind::zero;
  if (kind == SubclusterKind::data) {
    mapping.kind = MappingKind::data;
    mapping.in_place = own;
  }
  return mapping;
}

Result<Mapping> Driver::map(GuestRange want) {
  const SharedLock lock(mutex_);
  const auto table = TRY(l2_for_read(l1_index(want.offset)));
  if (!table) return map_absent_tables(want);
  Mapping whole = TRY(map_in_cluster(table, want));
  if (whole.kind != MappingKind::compressed) {
    const std::uint64_t table_end = (l1_index(want.offset) + 1) * l2_span_;
    const std::uint64_t end = std::min(want.end().value, table_end);
    while (want.offset.value + whole.length < end) {
      const GuestOffset at = want.offset + whole.length;
      const auto next = map_in_cluster(table, {at, end - at.value});
      // What is wrong with a later cluster is no reason to refuse this one.
      if (!next || next->kind != whole.kind || next->in_place != whole.in_place) break;
      if (next->storage != whole.storage) break;
      if (whole.storage != nullptr && next->host_offset != whole.host_offset + whole.length) break;
      whole.length += next->length;
    }
  }
  whole.length = std::min(whole.length, want.length);
  return whole;
}

Result<> Driver::unpack(std::span<const std::byte> packed, std::span<std::byte> cluster) {
  return unpack_cluster(compression_type_, packed, cluster);
}

}  // namespace penstock::qcow2
