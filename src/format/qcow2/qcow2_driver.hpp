// SPDX-License-Identifier: Apache-2.0
/// A qcow2 image in use. Source: penstock-formats(5), "qcow2".
///
/// Files: qcow2_driver.cpp opens and maps, backing.cpp names backing files, packed.cpp finds room for compressed
/// clusters, tables.cpp finds and changes L2 tables, changes.cpp reserves and publishes, flush.cpp brings it to disk in
/// order, sizes.cpp resizes.
#pragma once

#include "base/mutex.hpp"
#include "format/metadata_lock.hpp"
#include "format/qcow2/allocator.hpp"
#include "format/qcow2/l2_entry.hpp"
#include "format/qcow2/snapshots.hpp"

#include <atomic>
#include <functional>
#include <set>

namespace penstock::qcow2 {

/// Threads: as FormatDriver says. Locks, outer to inner: flush_mutex_, mutex_. Barriers (fdatasync) run under
/// flush_mutex_ alone, but for the rare move of the refcount table, so that requests go on meanwhile.
class Driver final : public FormatDriver {
 public:
  [[nodiscard]] static Result<std::unique_ptr<FormatDriver>> open(std::shared_ptr<Storage> storage,
                                                                  const FormatOpenOptions& options);

  [[nodiscard]] std::string_view format() const noexcept override { return "qcow2"; }
  [[nodiscard]] std::uint64_t virtual_size() const noexcept override { return virtual_size_.load(); }
  [[nodiscard]] Geometry geometry() const noexcept override { return geometry_; }
  [[nodiscard]] Capabilities capabilities() const noexcept override;
  [[nodiscard]] BackingReference backing() const override;
  [[nodiscard]] Result<FormatInfo> info() override;
  [[nodiscard]] Storage& storage() noexcept override { return *storage_; }
  [[nodiscard]] std::vector<Storage*> files() override;

  [[nodiscard]] Result<Mapping> map(GuestRange want) override;
  [[nodiscard]] Result<> unpack(std::span<const std::byte> packed, std::span<std::byte> cluster) override;
  [[nodiscard]] Result<> begin_writing() override;
  [[nodiscard]] Result<Reservation> reserve(GuestRange want) override;
  [[nodiscard]] Result<> publish(Reservation filled) override;
  [[nodiscard]] Result<std::optional<std::vector<std::byte>>> pack(std::span<const std::byte> cluster) override;
  [[nodiscard]] Result<Reservation> reserve_packed(GuestOffset cluster, std::uint32_t packed_bytes) override;
  [[nodiscard]] Result<std::uint64_t> publish_zero(GuestRange units, Zeroing zeroing) override;
  [[nodiscard]] Result<> discard(GuestRange range) override;
  [[nodiscard]] Result<> flush() override;
  [[nodiscard]] Result<> resize(std::uint64_t size, std::uint64_t backing_size) override;
  [[nodiscard]] Result<> change_backing(const BackingReference& backing) override;
  [[nodiscard]] Result<> make_empty() override;
  [[nodiscard]] AutoStart auto_start() const override;
  [[nodiscard]] Result<> set_auto_start(AutoStart start) override;
  [[nodiscard]] Result<> close() override;

 private:
  struct Room;
  struct PackedRoom;

  Driver(std::shared_ptr<Storage> storage, std::shared_ptr<Storage> data, Header header, bool writable,
         std::uint64_t cache_bytes);

  // qcow2_driver.cpp
  [[nodiscard]] Result<> load_tables(std::uint64_t file_size) REQUIRES(mutex_);
  [[nodiscard]] Result<> protect(HostOffset offset, std::uint64_t bytes, std::string_view what) REQUIRES(mutex_);
  [[nodiscard]] Result<> protect_snapshots(const SnapshotTable& table) REQUIRES(mutex_);
  [[nodiscard]] Result<> protect_metadata() REQUIRES(mutex_);
  /// The mapping of one subcluster run inside the cluster of `want.offset`.
  [[nodiscard]] Result<Mapping> map_in_cluster(const TableHandle& table, GuestRange want) REQUIRES_SHARED(mutex_);
  [[nodiscard]] Mapping map_absent_tables(GuestRange want) const REQUIRES_SHARED(mutex_);

  // tables.cpp
  [[nodiscard]] std::uint64_t l1_index(GuestOffset guest) const { return guest.value / l2_span_; }
  [[nodiscard]] std::uint32_t l2_index(GuestOffset guest) const {
    return static_cast<std::uint32_t>((guest.value % l2_span_) / geometry_.cluster_size);
  }
  [[nodiscard]] GuestOffset guest_of(std::uint64_t l1, std::uint32_t l2) const {
    return {l1 * l2_span_ + std::uint64_t{l2} * geometry_.cluster_size};
  }
  [[nodiscard]] std::uint64_t l1_entry(std::uint64_t index) const REQUIRES_SHARED(mutex_) {
    return index < l1_.size() ? l1_[index] : 0;
  }
  /// Null when the L1 entry is 0.
  [[nodiscard]] Result<TableHandle> l2_for_read(std::uint64_t index) REQUIRES_SHARED(mutex_);
  /// A table that the active L1 has for itself, made or copied when it was not.
  [[nodiscard]] Result<TableHandle> l2_for_change(std::uint64_t index) REQUIRES(mutex_);
  [[nodiscard]] Result<TableHandle> add_l2(std::uint64_t index) REQUIRES(mutex_);
  void set_l1(std::uint64_t index, std::uint64_t entry) REQUIRES(mutex_);
  /// The entry, when nothing is wrong with it and with where it leads.
  [[nodiscard]] Result<L2Entry> checked_entry(const TableHandle& table, GuestOffset cluster) REQUIRES_SHARED(mutex_);
  void put_entry(const TableHandle& table, std::uint32_t index, const L2Entry& entry) REQUIRES(mutex_);
  /// Host clusters that the entry holds a reference to; none with an external data file.
  [[nodiscard]] ClusterRun referenced(const L2Entry& entry) const REQUIRES_SHARED(mutex_);
  /// Replaces an entry and drops what only the old one referred to.
  void replace_entry(const TableHandle& table, std::uint32_t index, const L2Entry& old, const L2Entry& next)
      REQUIRES(mutex_);

  // changes.cpp
  enum class Need : std::uint8_t { nothing, room_in_place, new_cluster, whole_new_cluster };
  [[nodiscard]] Need need_of(const L2Entry& entry, unsigned subcluster) const REQUIRES_SHARED(mutex_);
  [[nodiscard]] bool refuses_changes(const L2Entry& entry) const REQUIRES_SHARED(mutex_) {
    return has_reserved_bits(header_, entry);
  }
  [[nodiscard]] Result<> before_table_change() REQUIRES(mutex_);
  void release(ClusterRun run);
  /// Part of a cluster that a change is about: its first byte, and subclusters [first, end).
  struct Part {
    GuestOffset cluster;
    unsigned first = 0;
    unsigned end = 0;
    [[nodiscard]] bool whole(unsigned subclusters) const { return first == 0 && end == subclusters; }
  };
  /// What the entry of a cluster becomes; EOPNOTSUPP when it cannot.
  using Decide = std::function<Result<L2Entry>(const L2Entry& old, const Part& part)>;
  [[nodiscard]] Result<std::uint64_t> change_entries(GuestRange units, const Decide& decide) REQUIRES(mutex_);
  [[nodiscard]] Result<L2Entry> zeroed(const L2Entry& old, const Part& part, Zeroing zeroing) const
      REQUIRES_SHARED(mutex_);
  [[nodiscard]] Result<L2Entry> zeroed_subclusters(const L2Entry& old, const Part& part, Zeroing zeroing) const
      REQUIRES_SHARED(mutex_);
  [[nodiscard]] Result<L2Entry> zeroed_over_raw_data(const L2Entry& old, const Part& part) const
      REQUIRES_SHARED(mutex_);
  [[nodiscard]] Result<std::uint64_t> zero_raw_data(GuestRange units, Zeroing zeroing) REQUIRES(mutex_);
  [[nodiscard]] L2Entry discarded(const L2Entry& old) const REQUIRES_SHARED(mutex_);
  [[nodiscard]] Result<> flush_when_much_is_pending();

  // flush.cpp
  struct Pending;
  [[nodiscard]] Result<> flush_stages() REQUIRES(flush_mutex_) EXCLUDES(mutex_);
  [[nodiscard]] Result<> settle_header() REQUIRES(flush_mutex_);
  [[nodiscard]] Result<> take_pending(Pending& pending) REQUIRES(flush_mutex_);
  [[nodiscard]] Result<> write_counts(Pending& pending) REQUIRES(flush_mutex_);
  [[nodiscard]] Result<> write_links(Pending& pending) REQUIRES(flush_mutex_);
  [[nodiscard]] Result<> give_back(Pending& pending) REQUIRES(flush_mutex_);
  void put_back(Pending& pending);
  [[nodiscard]] Result<> clear_dirty_bit() REQUIRES(flush_mutex_);

  // packed.cpp
  [[nodiscard]] Result<> publish_packed(PackedRoom& room) REQUIRES(mutex_);
  void release_packed(HostRange room);

  // backing.cpp
  [[nodiscard]] Result<> put_header(const Header& next) REQUIRES(flush_mutex_, mutex_);

  // sizes.cpp
  [[nodiscard]] Result<> grow_l1(std::uint64_t entries) REQUIRES(flush_mutex_);
  [[nodiscard]] Result<> hide_backing(GuestRange range) REQUIRES(flush_mutex_);
  [[nodiscard]] Result<> drop_behind(std::uint64_t size) REQUIRES(flush_mutex_);
  [[nodiscard]] Result<> write_size(std::uint64_t size) REQUIRES(flush_mutex_);

  const std::shared_ptr<Storage> storage_;
  const std::shared_ptr<Storage> data_;  // storage_, or the external data file
  const Geometry geometry_;
  const std::uint64_t l2_span_;  // guest bytes one L2 table maps
  const unsigned subclusters_;   // in a cluster; 1 without extended L2
  const std::uint8_t compression_type_;
  const bool writable_;
  const std::uint64_t table_cache_bytes_;
  std::atomic<std::uint64_t> virtual_size_;
  std::atomic<bool> writing_{false};  // begin_writing() is done

  Mutex flush_mutex_;
  bool header_unsure_ GUARDED_BY(flush_mutex_) = false;  // a write of it failed: it may say what was before or is new
  std::uint64_t covered_end_ GUARDED_BY(flush_mutex_) = 0;  // the file is known to reach this far
  mutable SharedMutex mutex_;
  Header header_ GUARDED_BY(mutex_);
  // Set for good once there was a backing file: an Image that is open goes on reading it after the name is gone, so
  // that what reads as zero must go on hiding it.
  bool hides_backing_ GUARDED_BY(mutex_) = false;
  std::vector<std::uint64_t> l1_ GUARDED_BY(mutex_);  // entries behind its end are 0
  std::set<std::uint64_t> l1_changed_ GUARDED_BY(mutex_);
  ClusterSet doubly_linked_ GUARDED_BY(mutex_);  // L2 tables that two L1 entries name: not to be changed
  Metadata metadata_ GUARDED_BY(mutex_);
  TableCache l2_cache_;  // its own rules, see there
  Refcounts refcounts_ GUARDED_BY(mutex_);
  Allocator allocator_ GUARDED_BY(mutex_);
};

}  // namespace penstock::qcow2
