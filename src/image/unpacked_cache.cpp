// SPDX-License-Identifier: Apache-2.0
#include "image/unpacked_cache.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cstring>

namespace penstock {

namespace {
constexpr std::uint64_t kShardsMax = 32;

// A shard that cannot hold a few clusters would drop what the next request of a sequential reader needs.
unsigned shards_for(std::uint64_t budget_bytes, std::uint32_t cluster_size) {
  const auto least = 4 * std::max<std::uint64_t>(cluster_size, 4096);
  return static_cast<unsigned>(std::clamp<std::uint64_t>(budget_bytes / least, 1, kShardsMax));
}
}  // namespace

UnpackedCache::UnpackedCache(std::uint64_t budget_bytes, std::uint32_t cluster_size)
    : cache_(std::max<std::uint64_t>(budget_bytes, 2ULL * cluster_size), shards_for(budget_bytes, cluster_size)) {}

Result<> UnpackedCache::unpack(FormatDriver& driver, const Mapping& mapping, std::span<std::byte> out) {
  // What a compressed entry can name is at most two clusters: a larger claim is not believed.
  if (mapping.packed_length > 2 * out.size()) {
    return corrupt(concat("compressed cluster at guest offset ", hex(mapping.cluster.value), " claims ",
                          mapping.packed_length, " packed bytes"));
  }
  thread_local std::vector<std::byte> room;
  if (room.size() < mapping.packed_length) room.resize(mapping.packed_length);
  const auto packed = std::span(room).first(mapping.packed_length);
  TRY(mapping.storage->read(mapping.host_offset, packed));
  const auto unpacked = driver.unpack(packed, out);
  if (unpacked) return {};
  return Failure(unpacked.error().in(concat("compressed cluster at guest offset ", hex(mapping.cluster.value),
                                            ", host offset ", hex(mapping.host_offset.value))));
}

Result<> UnpackedCache::read(std::uint32_t layer, FormatDriver& driver, const Mapping& mapping, GuestOffset at,
                             std::span<std::byte> out) {
  // The host offset is part of the key: a cluster of the top layer may be packed anew elsewhere.
  const CacheKey key{mapping.cluster.value, mapping.host_offset.value, layer};
  const std::size_t cluster_size = driver.geometry().cluster_size;
  auto cluster = cache_.find(key);
  if (!cluster && at == mapping.cluster && out.size() == cluster_size) {
    // All of it at once, as a sequential reader asks: not worth keeping, and needs no copy.
    return unpack(driver, mapping, out);
  }
  if (!cluster) {
    cluster = TRY(cache_.get(key, [&]() -> Result<Cluster> {
      Cluster made{std::vector<std::byte>(cluster_size)};
      TRY(unpack(driver, mapping, made.contents));
      return made;
    }));
  }
  const auto skip = at - mapping.cluster;
  if (!fits(skip, out.size(), cluster->contents.size())) {
    return corrupt(
        concat("compressed cluster at guest offset ", hex(mapping.cluster.value), " is shorter than mapped"));
  }
  std::memcpy(out.data(), cluster->contents.data() + skip, out.size());
  return {};
}

}  // namespace penstock
