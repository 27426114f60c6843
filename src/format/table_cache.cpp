// SPDX-License-Identifier: Apache-2.0
#include "format/table_cache.hpp"

#include <algorithm>
#include <utility>

namespace penstock {

namespace {
// Sectors are written whole: a device may tear a write between sectors, not inside one.
constexpr std::size_t kSector = 512;
}  // namespace

TableCache::TableCache(Storage& storage, std::size_t table_bytes, std::uint64_t capacity_bytes)
    : storage_(storage),
      table_bytes_(table_bytes),
      tables_per_shard_(std::max<std::size_t>(1, capacity_bytes / table_bytes / kShards)) {}

Result<TableHandle> TableCache::load(HostOffset offset) {
  Shard& shard = shard_of(offset);
  {
    const MutexLock lock(shard.mutex);
    if (const auto found = shard.tables.find(offset.value); found != shard.tables.end()) {
      found->second->used_.store(true, std::memory_order_relaxed);
      return found->second;
    }
  }
  // Read without the lock. Two threads may read the same table; the driver's metadata lock keeps it unchanged
  // meanwhile, so the one that comes second takes the other's.
  auto table = std::make_shared<Table>(offset, table_bytes_);
  TRY(storage_.read(offset, table->mutable_bytes()));
  const MutexLock lock(shard.mutex);
  if (const auto found = shard.tables.find(offset.value); found != shard.tables.end()) return found->second;
  insert(shard, table);
  return table;
}

TableHandle TableCache::add(HostOffset offset) {
  forget(offset);
  auto table = std::make_shared<Table>(offset, table_bytes_);
  {
    Shard& shard = shard_of(offset);
    const MutexLock lock(shard.mutex);
    insert(shard, table);
  }
  mark_dirty(table, 0, table_bytes_);
  return table;
}

void TableCache::mark_dirty(const TableHandle& table, std::size_t from, std::size_t length) {
  const std::size_t to = from + length;
  from = from / kSector * kSector;
  const std::size_t to_sector = std::min(table_bytes_, (to + kSector - 1) / kSector * kSector);
  if (table->dirty_.load()) {
    table->dirty_from_ = std::min(table->dirty_from_, from);
    table->dirty_to_ = std::max(table->dirty_to_, to_sector);
    return;
  }
  table->dirty_from_ = from;
  table->dirty_to_ = to_sector;
  table->dirty_.store(true);
  dirty_.push_back(table);
}

void TableCache::forget(HostOffset offset) {
  TableHandle table;
  {
    Shard& shard = shard_of(offset);
    const MutexLock lock(shard.mutex);
    const auto found = shard.tables.find(offset.value);
    if (found == shard.tables.end()) return;
    table = found->second;
    shard.tables.erase(found);
    std::erase(shard.ring, offset.value);
    shard.hand = 0;
  }
  if (table->dirty_.exchange(false)) std::erase(dirty_, table);
}

std::vector<TableHandle> TableCache::dirty_tables() {
  auto tables = std::exchange(dirty_, {});
  std::ranges::sort(tables, {}, [](const TableHandle& table) { return table->offset(); });
  return tables;
}

std::vector<TableCache::Copy> TableCache::copy_dirty() {
  std::vector<Copy> copies;
  for (const TableHandle& table : dirty_tables()) {
    const auto part = table->bytes().subspan(table->dirty_from_, table->dirty_to_ - table->dirty_from_);
    copies.push_back({table, table->dirty_from_, {part.begin(), part.end()}});
    table->in_flight_.store(true);
    table->dirty_.store(false);
  }
  return copies;
}

void TableCache::finish(const Copy& copy, bool written) {
  if (!written) mark_dirty(copy.table, copy.from, copy.bytes.size());
  copy.table->in_flight_.store(false);
}

Result<> TableCache::write_dirty() {
  Result<> outcome;
  for (const TableHandle& table : dirty_tables()) {
    const std::size_t from = table->dirty_from_;
    const std::size_t length = table->dirty_to_ - from;
    table->dirty_.store(false);
    if (outcome) outcome = storage_.write(table->offset() + from, table->bytes().subspan(from, length));
    if (!outcome) mark_dirty(table, from, length);
  }
  return outcome;
}

void TableCache::insert(Shard& shard, const TableHandle& table) {
  if (shard.tables.size() >= tables_per_shard_) evict_one(shard);
  shard.tables[table->offset().value] = table;
  shard.ring.push_back(table->offset().value);
}

void TableCache::evict_one(Shard& shard) {
  // Two rounds: the first takes the second chance away, the second finds an unchanged table if there is one.
  for (std::size_t step = 0; step < 2 * shard.ring.size(); ++step) {
    if (shard.hand >= shard.ring.size()) shard.hand = 0;
    const std::uint64_t offset = shard.ring[shard.hand];
    const TableHandle& table = shard.tables[offset];
    const bool kept = table->dirty_.load() || table->in_flight_.load();
    if (!kept && !table->used_.exchange(false)) {
      shard.tables.erase(offset);
      shard.ring[shard.hand] = shard.ring.back();
      shard.ring.pop_back();
      return;
    }
    ++shard.hand;
  }
}

}  // namespace penstock
