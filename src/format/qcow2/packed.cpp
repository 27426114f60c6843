// SPDX-License-Identifier: Apache-2.0
// Room for compressed clusters, which lie side by side at any byte. Source: penstock-formats(5), "qcow2: compressed
// clusters".
#include "format/qcow2/compressed.hpp"
#include "format/qcow2/packed_room.hpp"

namespace penstock::qcow2 {

Driver::PackedRoom::~PackedRoom() {
  const MustHaveMemory memory(std::nothrow);
  if (room.length != 0) driver.release_packed(room);
}

void Driver::release_packed(HostRange room) {
  const ChangeLock lock(mutex_);
  allocator_.release_packed(room);
}

Result<std::optional<std::vector<std::byte>>> Driver::pack(std::span<const std::byte> cluster) {
  if (data_ != storage_) return unsupported("an image with an external data file has no compressed clusters");
  return pack_cluster(compression_type_, cluster);
}

Result<Reservation> Driver::reserve_packed(GuestOffset cluster, std::uint32_t packed_bytes) {
  if (data_ != storage_) return unsupported("an image with an external data file has no compressed clusters");
  if (packed_bytes == 0 || packed_bytes >= geometry_.cluster_size) return fail(EINVAL, "nothing is gained by packing");
  const ChangeLock lock(mutex_);
  const auto table = TRY(l2_for_read(l1_index(cluster)));
  const L2Entry old = table ? TRY(checked_entry(table, cluster)) : L2Entry{};
  if (old != L2Entry{}) return fail(EINVAL, "the cluster is there already");
  auto room = std::make_unique<PackedRoom>(*this);
  room->cluster = cluster;
  room->room = TRY(allocator_.allocate_packed(packed_bytes));
  const ReservedRun run{{cluster, geometry_.cluster_size}, storage_.get(), room->room.offset, false};
  return Reservation(run.guest, {run}, std::move(room));
}

Result<> Driver::publish_packed(PackedRoom& room) {
  TRY(before_table_change());
  const auto table = TRY(l2_for_change(l1_index(room.cluster)));
  const std::uint32_t index = l2_index(room.cluster);
  const L2Entry old = load_entry(header_, table->bytes(), index);
  replace_entry(table, index, old, packed_entry(header_, room.room));
  room.room = {};
  return {};
}

}  // namespace penstock::qcow2
