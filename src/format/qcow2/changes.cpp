// SPDX-License-Identifier: Apache-2.0
// Reserve, fill, publish: every change of the mapping. Source: penstock-formats(5), "qcow2: guest operations".
#include "base/text.hpp"
#include "format/qcow2/header_change.hpp"
#include "format/qcow2/packed_room.hpp"

#include <optional>

namespace penstock::qcow2 {

namespace {
constexpr std::uint64_t kAllSubclusters = 0xffffffffULL;

constexpr std::uint64_t subcluster_mask(unsigned first, unsigned end) {
  return ((1ULL << (end - first)) - 1) << first;
}
}  // namespace

/// Host room for neighbouring clusters of one L2 table, at one run of host offsets.
struct Driver::Room final : Reservation::State {
  explicit Room(Driver& the_driver) : driver(the_driver) {}
  ~Room() override {
    const MustHaveMemory memory(std::nothrow);
    if (fresh.count != 0) driver.release(fresh);
  }
  Driver& driver;
  GuestOffset cluster;      // first
  std::uint64_t count = 0;  // clusters
  HostOffset host;          // of the first
  bool whole = false;       // extended L2: every subcluster becomes data
  ClusterRun fresh;         // allocated for this; nothing once linked
};

void Driver::release(ClusterRun run) {
  const ChangeLock lock(mutex_);
  allocator_.release(run);
}

Result<> Driver::begin_writing() {
  if (writing_.load(std::memory_order_acquire)) return {};
  const FlushLock flushing(flush_mutex_);
  const ChangeLock lock(mutex_);
  if (writing_.load()) return {};
  // Whoever relies on a bit that we do not know, or on bitmaps that we do not keep, must find it cleared before the
  // first byte changes.
  const std::uint64_t kept = header_.autoclear & kRawDataFile;
  if (header_.version >= 3 && kept != header_.autoclear) {
    TRY(write_header_field(*storage_, kAutoclearField, kept));
    TRY(storage_->flush());
    header_.autoclear = kept;
  }
  // What a crash leaves unused while it streams is looked for by the next mount.
  if (auto_start_of(header_).stream && !has_open_flag(header_)) TRY(put_header(with_open_flag(header_, true)));
  writing_.store(true, std::memory_order_release);
  return {};
}

Result<> Driver::before_table_change() {
  if (!header_.lazy_refcounts() || header_.dirty()) return {};
  // From here on counts may lag behind the tables; the bit makes the next user rebuild them after a crash.
  TRY(write_header_field(*storage_, kIncompatibleField, header_.incompatible | kDirty));
  TRY(storage_->flush());
  header_.incompatible |= kDirty;
  return {};
}

Driver::Need Driver::need_of(const L2Entry& entry, unsigned subcluster) const {
  const bool own = (entry.descriptor & kCopied) != 0;
  const ClusterKind kind = cluster_kind(header_, entry);
  switch (kind) {
    case ClusterKind::unallocated:
    case ClusterKind::zero_plain:
      return header_.has_data_file() ? Need::room_in_place : Need::new_cluster;
    case ClusterKind::compressed:
      return Need::whole_new_cluster;
    case ClusterKind::zero_allocated:
      return own ? Need::room_in_place : Need::whole_new_cluster;
    case ClusterKind::normal:
      break;
  }
  if (!own) return Need::whole_new_cluster;
  if (subclusters_ > 1 && subcluster_kind(entry, subcluster) != SubclusterKind::data) return Need::room_in_place;
  return Need::nothing;
}

Result<Reservation> Driver::reserve(GuestRange want) {
  const ChangeLock lock(mutex_);
  const std::uint64_t cluster_size = geometry_.cluster_size;
  const auto table = TRY(l2_for_read(l1_index(want.offset)));
  const GuestOffset first{align_down(want.offset.value, cluster_size)};
  const auto entry_at = [&](GuestOffset cluster) -> Result<L2Entry> {
    mutex_.assert_held_shared();
    if (!table) return L2Entry{};
    const L2Entry entry = TRY(checked_entry(table, cluster));
    if (refuses_changes(entry)) {
      return corrupt(concat("L2 table at host offset ", hex(table->offset().value), ", entry ", l2_index(cluster),
                            ": reserved bits are set; it is read but not changed"));
    }
    return entry;
  };
  const auto start_subcluster = static_cast<unsigned>((want.offset - first) / geometry_.allocation_unit);
  const L2Entry entry = TRY(entry_at(first));
  const Need need = need_of(entry, start_subcluster);
  if (need == Need::nothing) return fail(EINVAL, "the cluster has its room already");
  const bool in_place = need == Need::room_in_place;
  const auto host_in_place = [&](const L2Entry& of, GuestOffset cluster) -> HostOffset {
    mutex_.assert_held_shared();
    return header_.has_data_file() ? HostOffset{cluster.value} : entry_offset(of.descriptor);
  };

  auto room = std::make_unique<Room>(*this);
  room->cluster = first;
  room->count = 1;
  room->whole = subclusters_ == 1 || need == Need::whole_new_cluster;
  if (in_place) room->host = host_in_place(entry, first);
  std::uint64_t end = std::min(want.end().value, (l1_index(first) + 1) * l2_span_);

  if (subclusters_ > 1 && (in_place || need == Need::whole_new_cluster)) {
    end = std::min(end, first.value + cluster_size);  // one cluster at a time: each has a state of its own
  }
  while (first.value + room->count * cluster_size < end) {
    const GuestOffset next = first + room->count * cluster_size;
    const auto next_entry = entry_at(next);
    if (!next_entry || need_of(*next_entry, 0) == Need::nothing) break;
    const Need next_need = need_of(*next_entry, 0);
    if (in_place != (next_need == Need::room_in_place)) break;
    if (in_place && host_in_place(*next_entry, next) != room->host + room->count * cluster_size) break;
    if (subclusters_ > 1 && next_need != need) break;
    ++room->count;
  }
  bool reads_zero = false;
  if (!in_place) {
    const auto allocation = TRY(allocator_.allocate(room->count));
    room->fresh = allocation.run;
    room->count = allocation.run.count;
    room->host = {allocation.run.first * cluster_size};
    reads_zero = allocation.reads_zero;
  }

  GuestRange range{first, room->count * cluster_size};
  if (!room->whole) {
    range.offset = {align_down(want.offset.value, geometry_.allocation_unit)};
    std::uint64_t range_end =
        std::min(range.offset.value + align_up(end - range.offset.value, geometry_.allocation_unit),
                 first.value + room->count * cluster_size);
    if (in_place && table) {
      // Up to the next subcluster that has its data already.
      for (std::uint64_t at = range.offset.value + geometry_.allocation_unit; at < range_end;
           at += geometry_.allocation_unit) {
        const auto subcluster = static_cast<unsigned>((at % cluster_size) / geometry_.allocation_unit);
        if (need_of(entry, subcluster) == Need::nothing) range_end = at;
      }
    }
    range.length = range_end - range.offset.value;
  }
  const ReservedRun run{range, data_.get(), room->host + (range.offset - first), reads_zero};
  return Reservation(range, {run}, std::move(room));
}

Result<> Driver::publish(Reservation filled) {
  if (auto* const packed = dynamic_cast<PackedRoom*>(filled.state())) {
    {
      const ChangeLock lock(mutex_);
      TRY(publish_packed(*packed));
    }
    return flush_when_much_is_pending();
  }
  auto& room = static_cast<Room&>(*filled.state());
  {
    const ChangeLock lock(mutex_);
    TRY(before_table_change());
    const auto table = TRY(l2_for_change(l1_index(room.cluster)));
    const GuestRange range = filled.range();
    for (std::uint64_t done = 0; done < room.count; ++done) {
      const GuestOffset cluster = room.cluster + done * geometry_.cluster_size;
      const std::uint32_t index = l2_index(cluster);
      const L2Entry old = load_entry(header_, table->bytes(), index);
      L2Entry next{(room.host.value + done * geometry_.cluster_size) | kCopied, 0};
      if (subclusters_ > 1) {
        const GuestRange part = range.intersection({cluster, geometry_.cluster_size});
        const auto from = static_cast<unsigned>((part.offset - cluster) / geometry_.allocation_unit);
        const auto written =
            room.whole ? kAllSubclusters
                       : subcluster_mask(from, from + static_cast<unsigned>(part.length / geometry_.allocation_unit));
        next.bitmap = room.whole ? written : ((old.bitmap | written) & ~(written << 32U));
      }
      replace_entry(table, index, old, next);
    }
    room.fresh = {};
  }
  return flush_when_much_is_pending();
}

Result<std::uint64_t> Driver::change_entries(GuestRange units, const Decide& decide) {
  struct Change {
    std::uint32_t index;
    L2Entry old;
    L2Entry next;
  };
  const std::uint64_t l1 = l1_index(units.offset);
  const std::uint64_t end = std::min(units.end().value, (l1 + 1) * l2_span_);
  const auto seen = TRY(l2_for_read(l1));
  std::vector<Change> changes;
  Result<> stopped;
  GuestOffset at = units.offset;
  while (at.value < end) {
    Part part{{align_down(at.value, geometry_.cluster_size)}, 0, 0};
    part.first = static_cast<unsigned>((at - part.cluster) / geometry_.allocation_unit);
    part.end = static_cast<unsigned>(divide_up(
        std::min<std::uint64_t>(end - part.cluster.value, geometry_.cluster_size), geometry_.allocation_unit));
    const auto step = [&]() -> Result<> {
      mutex_.assert_held();
      const L2Entry old = seen ? TRY(checked_entry(seen, part.cluster)) : L2Entry{};
      if (refuses_changes(old)) return corrupt("an L2 entry has reserved bits set; it is read but not changed");
      const L2Entry next = TRY(decide(old, part));
      if (next != old) changes.push_back({l2_index(part.cluster), old, next});
      return {};
    };
    stopped = step();
    if (!stopped) break;
    at = part.cluster + std::uint64_t{part.end} * geometry_.allocation_unit;
  }
  if (at == units.offset) return Failure(stopped.error());
  if (!changes.empty()) {
    TRY(before_table_change());
    const auto table = TRY(l2_for_change(l1));
    for (const Change& change : changes) replace_entry(table, change.index, change.old, change.next);
  }
  return std::min(at.value, end) - units.offset.value;
}

Result<L2Entry> Driver::zeroed(const L2Entry& old, const Part& part, Zeroing zeroing) const {
  const bool unmap = zeroing == Zeroing::may_unmap;
  const bool has_backing = hides_backing_;
  const ClusterKind kind = cluster_kind(header_, old);
  if (header_.version < 3) {
    if (has_backing) return unsupported("version 2 has no zero clusters");
    if (unmap || kind == ClusterKind::unallocated || kind == ClusterKind::compressed) return L2Entry{};
    return unsupported("version 2 has no zero clusters");
  }
  if (subclusters_ > 1) return zeroed_subclusters(old, part, zeroing);
  const L2Entry plain{has_backing ? kZeroFlag : 0, 0};
  switch (kind) {
    case ClusterKind::unallocated:
    case ClusterKind::compressed:
      return plain;
    case ClusterKind::zero_plain:
      return old;
    case ClusterKind::zero_allocated:
      return unmap ? plain : old;
    case ClusterKind::normal:
      break;
  }
  return unmap ? plain : L2Entry{old.descriptor | kZeroFlag, 0};
}

Result<L2Entry> Driver::zeroed_subclusters(const L2Entry& old, const Part& part, Zeroing zeroing) const {
  const bool has_backing = hides_backing_;
  const bool unmap = zeroing == Zeroing::may_unmap;
  const ClusterKind kind = cluster_kind(header_, old);
  if (part.whole(subclusters_)) {
    if (!has_backing && (unmap || kind != ClusterKind::normal)) return L2Entry{};
    const bool keeps_room = kind == ClusterKind::normal && !unmap;
    return L2Entry{keeps_room ? old.descriptor : 0, kAllSubclusters << 32U};
  }
  if (kind == ClusterKind::compressed) return unsupported("part of a compressed cluster");
  if (kind == ClusterKind::unallocated && !has_backing) return old;
  const std::uint64_t zero = subcluster_mask(part.first, part.end);
  L2Entry next{old.descriptor, (old.bitmap & ~zero) | (zero << 32U)};
  if (unmap && (next.bitmap & kAllSubclusters) == 0) next.descriptor = 0;  // no data is left in it
  return next;
}

Result<std::uint64_t> Driver::publish_zero(GuestRange units, Zeroing zeroing) {
  std::uint64_t done = 0;
  {
    const ChangeLock lock(mutex_);
    const bool raw_data = header_.raw_data_file();
    done =
        TRY(raw_data ? zero_raw_data(units, zeroing) : change_entries(units, [&](const L2Entry& old, const Part& part) {
          mutex_.assert_held_shared();
          return zeroed(old, part, zeroing);
        }));
    if (header_.has_data_file() && !raw_data && zeroing == Zeroing::may_unmap) {
      // Nothing refers to these bytes any more, or both what was and what will be there is zero to the guest.
      TRY(data_->discard({{units.offset.value}, done}));
    }
  }
  TRY(flush_when_much_is_pending());
  return done;
}

L2Entry Driver::discarded(const L2Entry& old) const {
  const bool has_backing = hides_backing_;
  const bool allocated = cluster_kind(header_, old) != ClusterKind::unallocated || old.bitmap != 0;
  if (header_.raw_data_file()) return old;
  if (header_.version < 3) return has_backing ? old : L2Entry{};  // unallocating would reveal the backing file
  if (!allocated && !has_backing) return old;
  return subclusters_ > 1 ? L2Entry{0, kAllSubclusters << 32U} : L2Entry{kZeroFlag, 0};
}

Result<> Driver::discard(GuestRange range) {
  const std::uint64_t disk_end = align_up(virtual_size_.load(), geometry_.cluster_size);
  if (range.end().value >= virtual_size_.load()) range.length = disk_end - range.offset.value;
  GuestRange left = narrow(range, geometry_.cluster_size);
  while (!left.empty()) {
    std::uint64_t done = 0;
    {
      const ChangeLock lock(mutex_);
      done = TRY(change_entries(left, [&](const L2Entry& old, const Part&) -> Result<L2Entry> {
        mutex_.assert_held_shared();
        return discarded(old);
      }));
      if (header_.has_data_file()) TRY(data_->discard({{left.offset.value}, done}));
    }
    TRY(flush_when_much_is_pending());
    left = {left.offset + done, left.length - done};
  }
  return {};
}

Result<> Driver::flush_when_much_is_pending() {
  {
    const SharedLock lock(mutex_);
    constexpr std::size_t kDropsMax = 16384;
    const bool much = l2_cache_.dirty_bytes() > table_cache_bytes_ / 2 ||
                      refcounts_.changed_bytes() > table_cache_bytes_ / 2 || allocator_.drops_pending() > kDropsMax;
    if (!much) return {};
  }
  return flush();
}

}  // namespace penstock::qcow2
