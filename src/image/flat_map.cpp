// SPDX-License-Identifier: Apache-2.0
#include "image/flat_map.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <new>

namespace penstock {

namespace {

constexpr std::uint64_t kChunkMin = 256U << 10U;
constexpr std::uint64_t kChunkMax = 32U << 20U;
// The first reader of a chunk pays for all of its runs: this many at most, unless layers interleave.
constexpr std::uint64_t kUnitsPerChunk = 512;
constexpr unsigned kShards = 32;

std::uint32_t chunk_size_for(const Layers& layers) {
  std::uint64_t unit = kChunkMax;
  for (std::size_t depth = 1; depth < layers.size(); ++depth) {
    const auto& driver = *layers[depth]->driver;
    if (driver.capabilities().always_in_place) continue;
    unit = std::min<std::uint64_t>(unit, driver.geometry().allocation_unit);
  }
  return static_cast<std::uint32_t>(std::clamp(unit * kUnitsPerChunk, kChunkMin, kChunkMax));
}

}  // namespace

Result<LayerAnswer> ask_layers(const Layers& layers, unsigned depth, GuestRange range, unsigned* failed_depth) {
  for (; depth < layers.size(); ++depth) {
    auto& driver = *layers[depth]->driver;
    // Behind the end of a layer there is zero, to the byte, whatever the layers below it hold.
    if (range.offset.value >= driver.virtual_size()) {
      return LayerAnswer{depth, {.kind = MappingKind::unallocated, .length = range.length}, true};
    }
    range.length = std::min(range.length, driver.virtual_size() - range.offset.value);
    auto mapping = driver.map(range);
    if (!mapping) {
      if (failed_depth != nullptr) *failed_depth = depth;
      return Failure(mapping.error().in(printable(layers[depth]->shown)));
    }
    range.length = std::min(range.length, mapping->length);
    mapping->length = range.length;
    if (mapping->kind != MappingKind::unallocated) return LayerAnswer{depth, *mapping};
  }
  const auto lowest = layers.empty() ? 0 : static_cast<unsigned>(layers.size() - 1);
  return LayerAnswer{lowest, {.kind = MappingKind::unallocated, .length = range.length}};
}

FlatMap::FlatMap(const Layers& layers, std::uint64_t budget_bytes)
    : layers_(layers), chunk_size_(chunk_size_for(layers)), chunks_(budget_bytes, kShards) {}

Result<FlatRun> FlatMap::find(GuestRange range) {
  if (layers_.size() < 2) return FlatRun{.kind = FlatKind::nothing, .length = range.length};
  const GuestOffset start{align_down(range.offset.value, chunk_size_)};
  const auto chunk =
      chunks_.get({.position = start.value / chunk_size_}, [&]() -> Result<Chunk> { return resolve(start); });
  // What cannot be asked becomes a run of kind ask, and is no failure.
  if (!chunk && chunk.error().is(ENOMEM)) throw std::bad_alloc();
  if (!chunk) return Failure(chunk.error());
  const auto& runs = (*chunk)->runs;
  const auto at = static_cast<std::uint32_t>(range.offset - start);
  const auto behind = std::upper_bound(runs.begin(), runs.end(), at,
                                       [](std::uint32_t value, const Run& run) { return value < run.start; });
  const auto& run = *(behind - 1);
  const std::uint64_t end = behind == runs.end() ? chunk_size_ : behind->start;
  FlatRun found{.kind = run.kind, .depth = run.depth, .length = std::min(range.length, end - at)};
  if (run.kind == FlatKind::data) {
    found.file = layers_[run.depth]->files[run.file];
    found.host_offset = {run.host_offset + (at - run.start)};
  }
  return found;
}

Result<FlatMap::Run> FlatMap::resolve_run(GuestRange range, std::uint32_t start, std::uint64_t& length) const {
  unsigned failed_depth = 0;
  const auto answer = ask_layers(layers_, 1, range, &failed_depth);
  if (!answer) {
    // Nothing was found out, and nothing is to be remembered.
    TRY(Wait::check(WaitFor::bytes));
    // Told again to whoever reads here, by the layer itself; not remembered, since it may pass.
    const auto cluster_size = layers_[failed_depth]->driver->geometry().cluster_size;
    length = std::min(range.length, cluster_size - range.offset.value % cluster_size);
    return Run{0, start, 0, static_cast<std::uint8_t>(failed_depth), FlatKind::ask};
  }
  const auto& mapping = answer->mapping;
  length = mapping.length;
  const auto depth = static_cast<std::uint8_t>(answer->depth);
  switch (mapping.kind) {
    case MappingKind::unallocated:
      return Run{0, start, 0, 0, FlatKind::nothing};
    case MappingKind::zero:
      return Run{0, start, 0, 0, FlatKind::zero};
    case MappingKind::compressed:
      return Run{0, start, 0, depth, FlatKind::compressed};
    case MappingKind::data:
      break;
  }
  const auto& files = layers_[depth]->files;
  const auto file = std::ranges::find(files, mapping.storage);
  if (file == files.end() || file - files.begin() > UINT16_MAX) return Run{0, start, 0, depth, FlatKind::ask};
  return Run{mapping.host_offset.value, start, static_cast<std::uint16_t>(file - files.begin()), depth, FlatKind::data};
}

Result<FlatMap::Chunk> FlatMap::resolve(GuestOffset start) const {
  Chunk chunk;
  for (std::uint32_t at = 0; at < chunk_size_;) {
    std::uint64_t length = 0;
    const auto run = TRY(resolve_run({start + at, chunk_size_ - at}, at, length));
    const auto* last = chunk.runs.empty() ? nullptr : &chunk.runs.back();
    const bool joins = last != nullptr && last->kind == run.kind && last->depth == run.depth &&
                       last->file == run.file &&
                       (run.kind != FlatKind::data || last->host_offset + (at - last->start) == run.host_offset);
    if (!joins) chunk.runs.push_back(run);
    at += static_cast<std::uint32_t>(length);
  }
  chunk.runs.shrink_to_fit();
  return chunk;
}

}  // namespace penstock
