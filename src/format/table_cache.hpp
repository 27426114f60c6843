// SPDX-License-Identifier: Apache-2.0
/// A bounded cache of mapping tables of one size (L2 tables, refcount blocks).
#pragma once

#include "base/mutex.hpp"

#include <penstock/storage.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <unordered_map>
#include <vector>

namespace penstock {

/// One table in memory. The bytes are changed only under the driver's exclusive metadata lock.
class Table {
 public:
  Table(HostOffset offset, std::size_t bytes) : offset_(offset), bytes_(bytes) {}

  [[nodiscard]] HostOffset offset() const { return offset_; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] std::span<std::byte> mutable_bytes() { return bytes_; }

 private:
  friend class TableCache;
  HostOffset offset_;
  std::vector<std::byte> bytes_;
  std::atomic<bool> used_{true};        // second chance: read since the evictor last passed
  std::atomic<bool> dirty_{false};      // differs from what was last written
  std::atomic<bool> in_flight_{false};  // a copy is being written: not on disk yet, so not to be read from there
  std::size_t dirty_from_ = 0;          // bytes that differ, while dirty_
  std::size_t dirty_to_ = 0;
};

using TableHandle = std::shared_ptr<Table>;

/// Tables that differ from the disk stay, whatever the bound; the driver flushes when there are too many of them.
/// Threads: load() from any thread under at least the driver's shared metadata lock; all else under the exclusive one.
class TableCache {
 public:
  /// `table_bytes` is the size of each table, `capacity_bytes` the memory for unchanged ones.
  TableCache(Storage& storage, std::size_t table_bytes, std::uint64_t capacity_bytes);

  /// The table at `offset`, read when it is not there. The part behind the end of the file reads as zero.
  [[nodiscard]] Result<TableHandle> load(HostOffset offset);
  /// A table of zeroes at `offset`, wholly to be written; replaces what was cached for that place.
  [[nodiscard]] TableHandle add(HostOffset offset);
  /// Bytes [from, from + length) of the table were or are being changed.
  void mark_dirty(const TableHandle& table, std::size_t from, std::size_t length);
  /// Forgets the table at `offset`, changed or not.
  void forget(HostOffset offset);

  /// Part of a table as it was at one moment, to be written later.
  struct Copy {
    TableHandle table;
    std::size_t from = 0;
    std::vector<std::byte> bytes;
  };
  /// Copies of all changed tables, which count as in flight until finish().
  [[nodiscard]] std::vector<Copy> copy_dirty();
  /// The copy is written, or failed and the table has to be written again.
  void finish(const Copy& copy, bool written);
  /// Writes all changed tables as they are now. What cannot be written stays changed.
  [[nodiscard]] Result<> write_dirty();

  [[nodiscard]] std::uint64_t dirty_bytes() const { return dirty_.size() * table_bytes_; }

 private:
  static constexpr std::size_t kShards = 16;
  struct Shard {
    Mutex mutex;
    std::unordered_map<std::uint64_t, TableHandle> tables GUARDED_BY(mutex);
    std::vector<std::uint64_t> ring GUARDED_BY(mutex);  // the order in which the evictor passes
    std::size_t hand GUARDED_BY(mutex) = 0;
  };

  Shard& shard_of(HostOffset offset) { return shards_[(offset.value / table_bytes_) % kShards]; }
  void insert(Shard& shard, const TableHandle& table) REQUIRES(shard.mutex);
  void evict_one(Shard& shard) REQUIRES(shard.mutex);
  [[nodiscard]] std::vector<TableHandle> dirty_tables();

  Storage& storage_;
  const std::size_t table_bytes_;
  const std::size_t tables_per_shard_;
  std::vector<TableHandle> dirty_;
  std::array<Shard, kShards> shards_;
};

}  // namespace penstock
