// SPDX-License-Identifier: Apache-2.0
// L1 and L2 tables in memory: finding, copying, changing them.
#include "base/text.hpp"
#include "format/qcow2/qcow2_driver.hpp"

namespace penstock::qcow2 {

Result<TableHandle> Driver::l2_for_read(std::uint64_t index) {
  const std::uint64_t entry = l1_entry(index);
  const HostOffset offset = entry_offset(entry);
  if (offset.value == 0 && (entry & kCopied) == 0) return TableHandle();
  const auto bad = [&](const char* what) {
    return corrupt(concat("L1 entry ", index, ": L2 table at host offset ", hex(offset.value), " ", what));
  };
  if (offset.value == 0) return bad("is the header");
  if (!is_aligned(offset.value, geometry_.cluster_size)) return bad("is not cluster aligned");
  if (offset.value >= allocator_.end_of_use()) return bad("lies behind the end of the file");
  if (metadata_.fixed.contains(offset.value / geometry_.cluster_size)) return bad("overlaps other metadata");
  return l2_cache_.load(offset);
}

Result<TableHandle> Driver::add_l2(std::uint64_t index) {
  const std::uint64_t cluster = TRY(allocator_.allocate(1)).run.first;
  const HostOffset offset{cluster * geometry_.cluster_size};
  // Room now: a full host must fail this write, not a later flush.
  const auto room = storage_->allocate({offset, geometry_.cluster_size});
  if (!room && !room.error().is(EOPNOTSUPP)) {
    allocator_.release({cluster, 1});
    return Failure(room.error());
  }
  metadata_.l2_tables.insert(cluster);
  auto table = l2_cache_.add(offset);
  set_l1(index, offset.value | kCopied);
  return table;
}

Result<TableHandle> Driver::l2_for_change(std::uint64_t index) {
  const std::uint64_t entry = l1_entry(index);
  const auto old = TRY(l2_for_read(index));
  if (!old) return add_l2(index);
  const std::uint64_t cluster = old->offset().value / geometry_.cluster_size;
  if (doubly_linked_.contains(cluster) || (entry & kL1Reserved) != 0) {
    return corrupt(concat("L1 entry ", index, ": L2 table at host offset ", hex(old->offset().value),
                          doubly_linked_.contains(cluster) ? " is named twice" : ": reserved bits are set",
                          "; it is read but not changed"));
  }
  if ((entry & kCopied) != 0) return old;
  // A snapshot shares the table: it keeps the old one, the active L1 gets a copy.
  auto copy = TRY(add_l2(index));
  std::ranges::copy(old->bytes(), copy->mutable_bytes().begin());
  metadata_.l2_tables.erase(cluster);
  allocator_.drop({cluster, 1});
  return copy;
}

void Driver::set_l1(std::uint64_t index, std::uint64_t entry) {
  if (index >= l1_.size()) l1_.resize(index + 1);
  l1_[index] = entry;
  l1_changed_.insert(index);
}

Result<L2Entry> Driver::checked_entry(const TableHandle& table, GuestOffset cluster) {
  const std::uint32_t index = l2_index(cluster);
  const L2Entry entry = load_entry(header_, table->bytes(), index);
  const auto bad = [&](std::string_view what) {
    return corrupt(concat("L2 table at host offset ", hex(table->offset().value), ", entry ", index, ": ", what));
  };
  if (const char* problem = entry_problem(header_, entry, cluster)) return bad(problem);
  const ClusterRun run = referenced(entry);
  if (run.count == 0) return entry;
  if (run.first * geometry_.cluster_size >= allocator_.end_of_use()) {
    return bad(concat("host offset ", hex(run.first * geometry_.cluster_size), " lies behind the end of the file"));
  }
  if (metadata_.overlaps(run.first, run.count)) {
    return bad(concat("host offset ", hex(run.first * geometry_.cluster_size), " holds metadata"));
  }
  return entry;
}

void Driver::put_entry(const TableHandle& table, std::uint32_t index, const L2Entry& entry) {
  l2_cache_.mark_dirty(table, std::size_t{index} * header_.l2_entry_bytes(), header_.l2_entry_bytes());
  store_entry(header_, table->mutable_bytes(), index, entry);
}

ClusterRun Driver::referenced(const L2Entry& entry) const {
  if (header_.has_data_file()) return {};
  switch (cluster_kind(header_, entry)) {
    case ClusterKind::unallocated:
    case ClusterKind::zero_plain:
      return {};
    case ClusterKind::zero_allocated:
    case ClusterKind::normal:
      return {entry_offset(entry.descriptor).value >> header_.cluster_bits, 1};
    case ClusterKind::compressed:
      break;
  }
  const PackedRun packed = packed_run(header_, entry.descriptor);
  const std::uint64_t first = packed.offset.value >> header_.cluster_bits;
  return {first, ((packed.offset.value + packed.length - 1) >> header_.cluster_bits) - first + 1};
}

void Driver::replace_entry(const TableHandle& table, std::uint32_t index, const L2Entry& old, const L2Entry& next) {
  put_entry(table, index, next);
  const ClusterRun before = referenced(old);
  const ClusterRun after = referenced(next);
  if (before.count != 0 && (before.first != after.first || before.count != after.count)) allocator_.drop(before);
}

}  // namespace penstock::qcow2
