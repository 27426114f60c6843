// SPDX-License-Identifier: Apache-2.0
/// A QED image in use. Source: penstock-formats(5), "QED".
///
/// Tables are cached in pages, since one table may be 1 GiB. Changes reach the disk at a flush, in the order data, L2,
/// L1 with barriers between, so that a crash leaves clusters nobody refers to at most.
#pragma once

#include "base/mutex.hpp"
#include "format/metadata_lock.hpp"
#include "format/qed/header.hpp"
#include "format/qed/table_clusters.hpp"
#include "format/table_cache.hpp"

#include <atomic>
#include <thread>
#include <unordered_set>

namespace penstock::qed {

/// Threads: as FormatDriver says. Locks, outer to inner: flush_mutex_, mutex_. Barriers run under flush_mutex_ alone.
class Driver final : public FormatDriver {
 public:
  [[nodiscard]] static Result<std::unique_ptr<FormatDriver>> open(std::shared_ptr<Storage> storage,
                                                                  const FormatOpenOptions& options);
  ~Driver() override;

  [[nodiscard]] std::string_view format() const noexcept override { return "qed"; }
  [[nodiscard]] std::uint64_t virtual_size() const noexcept override { return virtual_size_.load(); }
  [[nodiscard]] Geometry geometry() const noexcept override { return {cluster_size_, cluster_size_}; }
  [[nodiscard]] Capabilities capabilities() const noexcept override;
  [[nodiscard]] BackingReference backing() const override;
  [[nodiscard]] Result<FormatInfo> info() override;
  [[nodiscard]] Storage& storage() noexcept override { return *storage_; }

  [[nodiscard]] Result<Mapping> map(GuestRange want) override;
  [[nodiscard]] Result<> begin_writing() override;
  [[nodiscard]] Result<Reservation> reserve(GuestRange want) override;
  [[nodiscard]] Result<> publish(Reservation filled) override;
  [[nodiscard]] Result<std::uint64_t> publish_zero(GuestRange units, Zeroing zeroing) override;
  [[nodiscard]] Result<> discard(GuestRange range) override;
  [[nodiscard]] Result<> flush() override;
  [[nodiscard]] Result<> resize(std::uint64_t size, std::uint64_t backing_size) override;
  [[nodiscard]] Result<> change_backing(const BackingReference& backing) override;
  [[nodiscard]] AutoStart auto_start() const override;
  [[nodiscard]] Result<> set_auto_start(AutoStart start) override;
  [[nodiscard]] Result<> close() override;

 private:
  struct Room;
  enum class Level : std::uint8_t { l1, l2 };
  /// One table entry: the page that holds it, and where in it.
  struct Slot {
    TableHandle page;
    std::size_t at = 0;
  };

  Driver(std::shared_ptr<Storage> storage, Header header, bool writable, std::uint64_t cache_bytes);

  [[nodiscard]] std::uint64_t l1_index(GuestOffset guest) const { return guest.value / l2_span_; }
  [[nodiscard]] std::uint64_t l2_index(GuestOffset guest) const { return guest.value % l2_span_ / cluster_size_; }
  [[nodiscard]] Result<Slot> slot(HostOffset table, std::uint64_t index) REQUIRES_SHARED(mutex_);
  [[nodiscard]] static std::uint64_t value_of(const Slot& slot);
  void put(const Slot& slot, std::uint64_t value, Level level) REQUIRES(mutex_);
  /// Host room for the page that the entry lies in: a full disk must be told before the entry is acknowledged, not when
  /// the table is written.
  [[nodiscard]] Result<> make_room(const Slot& slot) REQUIRES(mutex_);
  /// Offset of the L2 table, 0 without one. EUCLEAN for an L1 entry that leads to no table.
  [[nodiscard]] Result<HostOffset> l2_table(std::uint64_t index) REQUIRES_SHARED(mutex_);
  [[nodiscard]] Result<HostOffset> l2_table_for_change(std::uint64_t index) REQUIRES(mutex_);
  /// The entry, when it is one that the format knows and leads to data.
  [[nodiscard]] Result<std::uint64_t> entry(HostOffset table, GuestOffset cluster) REQUIRES_SHARED(mutex_);
  [[nodiscard]] std::uint64_t run_of(HostOffset table, std::uint64_t index, std::uint64_t count, std::uint64_t value)
      REQUIRES_SHARED(mutex_);
  [[nodiscard]] Result<HostOffset> allocate(std::uint64_t bytes) REQUIRES(mutex_);
  void release(HostRange room);
  [[nodiscard]] Result<> before_allocation() REQUIRES(mutex_);
  [[nodiscard]] Result<std::uint64_t> zero_entries(GuestRange units) REQUIRES(mutex_);
  [[nodiscard]] Result<> flush_when_much_is_pending();
  [[nodiscard]] Result<> flush_stages() REQUIRES(flush_mutex_);
  [[nodiscard]] Result<> write_copies(std::vector<TableCache::Copy>& copies, TableCache& cache);
  [[nodiscard]] Result<> cut_spare_end() REQUIRES(flush_mutex_);
  /// Writes the name into bytes that the header on disk does not use, durably, and sets the fields of `next` to it.
  [[nodiscard]] Result<> put_backing_name(Header& next) REQUIRES(mutex_);
  [[nodiscard]] Result<> clear_need_check() REQUIRES(flush_mutex_);
  void watch_for_idleness();
  void stop_watching();

  const std::shared_ptr<Storage> storage_;
  const std::uint32_t cluster_size_;
  const std::uint64_t l2_span_;
  const bool writable_;
  const std::uint64_t cache_bytes_;
  std::atomic<std::uint64_t> virtual_size_;
  std::atomic<bool> writing_{false};
  std::atomic<std::uint64_t> allocations_{0};  // how many so far: tells the idle thread whether there were more

  Mutex flush_mutex_;
  std::uint64_t covered_end_ GUARDED_BY(flush_mutex_) = 0;  // the file is known to reach this far
  mutable SharedMutex mutex_;
  Header header_ GUARDED_BY(mutex_);
  // Set for good once there was a backing file: an Image that is open goes on reading it after the name is gone, so
  // that what reads as zero must go on hiding it.
  bool hides_backing_ GUARDED_BY(mutex_) = false;
  std::uint64_t end_ GUARDED_BY(mutex_) = 0;                       // first byte never handed out: where the file grows
  std::vector<HostRange> spare_ GUARDED_BY(mutex_);                // handed out, given back and never linked
  std::unordered_set<std::uint64_t> has_room_ GUARDED_BY(mutex_);  // pages of tables, by offset, for which that is done
  TableClusters tables_ GUARDED_BY(mutex_);                        // what no data cluster may overlap
  TableCache l1_pages_;
  TableCache l2_pages_;

  Mutex idle_mutex_;
  ConditionVariable idle_changed_;
  bool stopping_ GUARDED_BY(idle_mutex_) = false;
  std::thread idle_thread_ GUARDED_BY(idle_mutex_);  // runs while NEED_CHECK is set
};

}  // namespace penstock::qed
