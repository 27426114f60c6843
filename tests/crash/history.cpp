// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/history.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cstring>

namespace penstock::test {

void fill_sector(std::span<std::byte> sector, Tag tag) {
  for (std::size_t at = 0; at < kSectorSize; at += sizeof tag) std::memcpy(sector.data() + at, &tag, sizeof tag);
}

bool read_sector(std::span<const std::byte> sector, Tag& tag) {
  std::memcpy(&tag, sector.data(), sizeof tag);
  return std::memcmp(sector.data(), sector.data() + sizeof tag, kSectorSize - sizeof tag) == 0;
}

void History::changed(std::uint64_t sector, std::size_t begun, Tag tag, bool certain) {
  sectors_[sector].push_back({begun, tick(), tag, certain});
}

void History::passing(std::uint64_t sector, std::size_t begun, std::size_t ended, Tag tag) {
  sectors_[sector].push_back({begun, tick(), tag, false, ended});
}

void History::flushed(std::uint64_t begun_tick, std::size_t ended) {
  const std::lock_guard lock(mutex_);
  flushes_.push_back({begun_tick, ended});
}

void History::resized(std::size_t begun, std::size_t ended, std::uint64_t size) {
  sizes_.push_back({begun, ended, size});
}

bool History::readable(std::uint64_t sector, Tag found) const {
  const auto& versions = sectors_[sector];
  for (auto version = versions.rbegin(); version != versions.rend(); ++version) {
    if (version->tag == found && version->until == SIZE_MAX) return true;
    if (version->certain) return false;
  }
  return found == 0;
}

std::string History::problem(std::uint64_t sector, std::size_t moment, Tag found) const {
  std::uint64_t durable_tick = 0;
  for (const Flush& flush : flushes_) {
    if (flush.ended <= moment) durable_tick = std::max(durable_tick, flush.begun_tick);
  }
  const auto& versions = sectors_[sector];
  std::size_t base = 0;
  for (std::size_t index = 0; index < versions.size(); ++index) {
    if (versions[index].certain && versions[index].ended_tick <= durable_tick) base = index;
  }
  if (versions.empty() && found == 0) return {};
  std::string allowed;
  for (std::size_t index = base; index < versions.size(); ++index) {
    if (index != base && versions[index].begun >= moment) break;
    if (moment > versions[index].until) continue;
    if (versions[index].tag == found) return {};
    allowed.append(allowed.empty() ? "" : ", ").append(hex(versions[index].tag));
  }
  const bool known = std::ranges::any_of(versions, [found](const Version& version) { return version.tag == found; });
  return concat("sector ", sector, " holds ", hex(found), known ? " (older or newer than possible)" : "",
                ", possible are ", allowed);
}

bool History::size_possible(std::size_t moment, std::uint64_t size) const {
  std::size_t base = 0;
  for (std::size_t index = 0; index < sizes_.size(); ++index) {
    if (sizes_[index].ended <= moment) base = index;
  }
  // A resize that failed may be there in part: a file that ends where the disk ends grows with each write behind its
  // end.
  bool in_part = false;
  std::uint64_t low = sizes_[base].size;
  std::uint64_t high = low;
  for (std::size_t index = base; index < sizes_.size(); ++index) {
    if (index != base && sizes_[index].begun >= moment) break;
    if (sizes_[index].size == size) return true;
    in_part = in_part || sizes_[index].ended == SIZE_MAX;
    low = std::min(low, sizes_[index].size);
    high = std::max(high, sizes_[index].size);
  }
  return in_part && size >= low && size <= high;
}

}  // namespace penstock::test
