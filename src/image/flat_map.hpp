// SPDX-License-Identifier: Apache-2.0
/// The layers below the top as one: which of them answers for a guest byte, resolved once.
#pragma once

#include <penstock/image.hpp>

#include "image/layer.hpp"
#include "image/sharded_cache.hpp"

#include <vector>

namespace penstock {

/// What the layers below the top say about a run of guest bytes.
enum class FlatKind : std::uint8_t {
  nothing,     ///< no layer answers, or it lies behind the end of one: reads as zero
  zero,        ///< a layer says zero
  data,        ///< at host_offset of the file
  compressed,  ///< in packed clusters of the layer: ask its driver
  ask,         ///< the layer could not be asked: ask its driver
};

struct FlatRun {
  FlatKind kind = FlatKind::nothing;
  unsigned depth = 0;        ///< the layer that answers, for data, compressed and ask
  std::uint64_t length = 0;  ///< guest bytes from the offset asked for, at least 1
  Storage* file = nullptr;   ///< data: where it lies
  HostOffset host_offset;    ///< data: of the guest offset asked for
};

/// What one layer answers, found by asking one after the other.
struct LayerAnswer {
  unsigned depth = 0;       ///< the layer that answers; of kind unallocated: the lowest one asked
  Mapping mapping;          ///< kind unallocated: nothing below answers
  bool behind_end = false;  ///< unallocated because the layer ends before; what is below it does not show
};

/// Asks layer `depth` and then those below about the start of `range`. Errors: the failing layer's own, its name in
/// front; `failed_depth` then tells which.
[[nodiscard]] Result<LayerAnswer> ask_layers(const Layers& layers, unsigned depth, GuestRange range,
                                             unsigned* failed_depth = nullptr);

/// A compact index over immutable layers, filled as it is asked and dropped when it grows too large: through 64 layers
/// a lookup costs what it costs through one.
/// Bound: budget_bytes. Threads: any; a part of the index is resolved once for all that wait for it.
class FlatMap {
 public:
  /// `layers` is the whole chain, top first, and outlives this; layers[1] and below are mapped.
  FlatMap(const Layers& layers, std::uint64_t budget_bytes);

  /// The run at the start of `range`, at most range.length bytes. `range` is not empty. A layer that cannot be asked
  /// answers `ask` for no more than one of its clusters, so that damage stays where it is. Errors: the thread's rules
  /// forbid to wait.
  [[nodiscard]] Result<FlatRun> find(GuestRange range);

  [[nodiscard]] std::uint64_t bytes() const { return chunks_.bytes(); }
  /// Guest bytes that are resolved together.
  [[nodiscard]] std::uint32_t chunk_size() const { return chunk_size_; }

 private:
  struct Run {
    std::uint64_t host_offset;
    std::uint32_t start;  // within the chunk
    std::uint16_t file;   // of Layer::files
    std::uint8_t depth;
    FlatKind kind;
  };
  struct Chunk {
    std::vector<Run> runs;  // by start, the first at 0
    [[nodiscard]] std::uint64_t memory_bytes() const { return runs.capacity() * sizeof(Run); }
  };
  [[nodiscard]] Result<Chunk> resolve(GuestOffset start) const;
  [[nodiscard]] Result<Run> resolve_run(GuestRange range, std::uint32_t start, std::uint64_t& length) const;

  const Layers& layers_;
  std::uint32_t chunk_size_;
  ShardedCache<Chunk> chunks_;
};

}  // namespace penstock
