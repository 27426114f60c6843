// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fake_driver.hpp"

#include "tests/support/expect.hpp"

#include <algorithm>
#include <cstdlib>

namespace penstock::test {

FakeDriver::FakeDriver(const FakeOptions& options) : options_(options), size_(options.size), random_(options.seed) {}

FakeDriver::Unit FakeDriver::unit_at(std::uint64_t index) const {
  const auto found = units_.find(index);
  return found == units_.end() ? Unit{} : found->second;
}

Result<Mapping> FakeDriver::map(GuestRange want) {
  const MutexLock lock(mutex_);
  ++maps;
  if (want.empty() || want.end().value > end()) std::abort();  // against the contract
  if (broken_.overlaps({want.offset, 1})) return corrupt("broken for the test");
  if (broken_.overlaps(want)) want.length = broken_.offset - want.offset;
  const auto first = want.offset.value / options_.unit;
  const auto unit = unit_at(first);
  const auto in_unit = want.offset.value % options_.unit;
  Mapping mapping{.kind = unit.kind};
  if (unit.kind == MappingKind::compressed) {
    mapping.cluster = {align_down(want.offset.value, options_.cluster_size)};
    mapping.length = std::min(want.length, mapping.cluster.value + options_.cluster_size - want.offset.value);
    mapping.storage = storage_.get();
    mapping.host_offset = {unit.host_offset};
    mapping.packed_length = options_.cluster_size;
    return mapping;
  }
  if (unit.kind == MappingKind::data) {
    mapping.storage = storage_.get();
    mapping.host_offset = {unit.host_offset + in_unit};
    mapping.in_place = unit.in_place;
  }
  auto at = first + 1;
  for (; at * options_.unit < want.end().value; ++at) {
    const auto next = unit_at(at);
    if (next.kind != unit.kind || next.in_place != unit.in_place) break;
    if (unit.kind == MappingKind::data && next.host_offset != unit.host_offset + (at - first) * options_.unit) break;
  }
  mapping.length = std::min(want.length, at * options_.unit - want.offset.value);
  return mapping;
}

Result<> FakeDriver::unpack(std::span<const std::byte> packed, std::span<std::byte> cluster) {
  ++unpacks;
  std::ranges::transform(packed, cluster.begin(), [](std::byte byte) { return byte ^ std::byte{0x5a}; });
  return {};
}

Result<> FakeDriver::begin_writing() {
  ++begins;
  return {};
}

Result<Reservation> FakeDriver::reserve(GuestRange want) {
  const MutexLock lock(mutex_);
  announce_check();
  if (!is_aligned(want.offset.value, options_.unit) || !is_aligned(want.length, options_.unit) || want.empty() ||
      want.end().value > end()) {
    std::abort();  // against the contract
  }
  auto from = want.offset.value;
  auto to = from + options_.unit;
  const auto not_in_place = [&](std::uint64_t at) REQUIRES(mutex_) {
    const auto unit = unit_at(at / options_.unit);
    return unit.kind != MappingKind::data || !unit.in_place;
  };
  mutex_.assert_held();
  if (!not_in_place(from)) std::abort();
  while (to < want.end().value && not_in_place(to)) to += options_.unit;
  if (options_.odd_reservations) {
    if (random_.chance(30)) to = from + options_.unit * random_.between(1, (to - from) / options_.unit);
    const auto low = align_down(want.offset.value, options_.cluster_size);
    const auto high = align_up(want.end().value, options_.cluster_size);
    while (from > low && not_in_place(from - options_.unit) && random_.chance(40)) from -= options_.unit;
    while (to < high && not_in_place(to) && random_.chance(40)) to += options_.unit;
  }
  // Compressed clusters are replaced whole.
  for (const auto at : {from, to - options_.unit}) {
    if (unit_at(at / options_.unit).kind != MappingKind::compressed) continue;
    from = std::min(from, align_down(at, options_.cluster_size));
    to = std::max(to, align_down(at, options_.cluster_size) + options_.cluster_size);
  }
  std::vector<ReservedRun> runs;
  for (auto at = from; at < to;) {
    auto length = to - at;
    if (options_.odd_reservations) length = std::min(length, options_.unit * random_.between(1, 4));
    const bool reads_zero = !options_.odd_reservations || random_.chance(50);
    if (!reads_zero) {
      std::vector<std::byte> garbage(length, std::byte{0xee});
      must(storage_->write({next_host_}, garbage));
    }
    runs.push_back({{{at}, length}, storage_.get(), {next_host_}, reads_zero});
    next_host_ += length + (options_.odd_reservations ? options_.unit * random_.below(2) : 0);
    at += length;
  }
  return Reservation({{from}, to - from}, std::move(runs), nullptr);
}

Result<> FakeDriver::publish(Reservation filled) {
  const MutexLock lock(mutex_);
  ++publishes;
  for (const auto& run : filled.runs()) {
    for (std::uint64_t at = 0; at < run.guest.length; at += options_.unit) {
      units_[(run.guest.offset.value + at) / options_.unit] = {MappingKind::data, run.host_offset.value + at, true};
    }
  }
  return {};
}

Result<std::uint64_t> FakeDriver::publish_zero(GuestRange units, Zeroing /*zeroing*/) {
  const MutexLock lock(mutex_);
  announce_check();
  if (!is_aligned(units.offset.value, options_.unit) || !is_aligned(units.length, options_.unit) || units.empty()) {
    std::abort();
  }
  if (!options_.zero_units) return unsupported("no zero units");
  // Compressed clusters cannot be zero in part.
  const auto cluster = GuestRange{{align_down(units.offset.value, options_.cluster_size)}, options_.cluster_size};
  if (unit_at(units.offset.value / options_.unit).kind == MappingKind::compressed && !units.contains(cluster)) {
    return unsupported("a part of a compressed cluster");
  }
  const auto length = std::min<std::uint64_t>(units.length, cluster.end() - units.offset);
  for (std::uint64_t at = 0; at < length; at += options_.unit) {
    units_[(units.offset.value + at) / options_.unit] = {MappingKind::zero, 0, false};
  }
  return length;
}

Result<> FakeDriver::discard(GuestRange range) {
  const MutexLock lock(mutex_);
  announce_check();
  if (!options_.zero_units) return {};
  for (auto at = range.offset.value; at < range.end().value; at += options_.unit) {
    units_[at / options_.unit] = {MappingKind::zero, 0, false};
  }
  return {};
}

Result<> FakeDriver::flush() {
  ++flushes;
  return {};
}

Result<> FakeDriver::resize(std::uint64_t size, std::uint64_t backing_size) {
  const MutexLock lock(mutex_);
  announce_check();
  const auto old_end = end();
  size_ = size;
  for (auto at = end(); at < old_end; at += options_.unit) units_.erase(at / options_.unit);
  for (auto at = old_end; at < std::min(end(), backing_size); at += options_.unit) {
    units_[at / options_.unit] = {MappingKind::zero, 0, false};
  }
  return {};
}

void FakeDriver::put_data(GuestRange units, std::span<const std::byte> bytes, bool in_place) {
  const MutexLock lock(mutex_);
  must(storage_->write({next_host_}, bytes));
  for (std::uint64_t at = 0; at < units.length; at += options_.unit) {
    units_[(units.offset.value + at) / options_.unit] = {MappingKind::data, next_host_ + at, in_place};
  }
  next_host_ += units.length;
}

void FakeDriver::put_zero(GuestRange units) {
  const MutexLock lock(mutex_);
  for (std::uint64_t at = 0; at < units.length; at += options_.unit) {
    units_[(units.offset.value + at) / options_.unit] = {MappingKind::zero, 0, false};
  }
}

void FakeDriver::put_compressed(GuestOffset cluster, std::span<const std::byte> bytes) {
  const MutexLock lock(mutex_);
  std::vector<std::byte> packed(bytes.begin(), bytes.end());
  packed.resize(options_.cluster_size);
  for (auto& byte : packed) byte ^= std::byte{0x5a};
  must(storage_->write({next_host_}, packed));
  for (std::uint64_t at = 0; at < options_.cluster_size; at += options_.unit) {
    units_[(cluster.value + at) / options_.unit] = {MappingKind::compressed, next_host_, false};
  }
  next_host_ += options_.cluster_size;
}

void FakeDriver::break_map(GuestRange range) {
  const MutexLock lock(mutex_);
  broken_ = range;
}

MappingKind FakeDriver::kind_at(GuestOffset offset) {
  const MutexLock lock(mutex_);
  return unit_at(offset.value / options_.unit).kind;
}

}  // namespace penstock::test
