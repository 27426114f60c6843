// SPDX-License-Identifier: Apache-2.0
/// The layers of an image at one time.
#pragma once

#include "base/mutex.hpp"
#include "image/backing.hpp"
#include "image/layer.hpp"
#include "image/unpacked_cache.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace penstock {

/// Which layers there are, and what was learned of those below the top. It never changes: another takes its place, and
/// whoever still uses this one keeps its layers open. Threads: any.
class Chain {
 public:
  /// `layers` are not empty. `cache_bytes`: of metadata and unpacked clusters, all layers together; a quarter is for
  /// what is kept here, the rest for the drivers' tables (chain_opener.cpp).
  Chain(Layers layers, std::uint64_t cache_bytes);

  [[nodiscard]] unsigned size() const { return static_cast<unsigned>(layers_.size()); }
  /// By depth: 0 is the top.
  [[nodiscard]] const Layer& operator[](unsigned depth) const { return *layers_[depth]; }
  [[nodiscard]] const Layers& layers() const { return layers_; }
  /// size() for null, which is no layer. Errors: EINVAL, a layer that is not of this chain.
  [[nodiscard]] Result<unsigned> depth_of(const Layer* layer) const;

  /// What shows through where the top has nothing, and the unpacked clusters of all layers.
  [[nodiscard]] Backing& backing() { return backing_; }
  [[nodiscard]] UnpackedCache& unpacked() { return unpacked_; }
  /// The top names no backing file: what it does not have is zero for good.
  [[nodiscard]] bool alone() const { return alone_; }
  /// Memory in use for what was learned.
  [[nodiscard]] std::uint64_t cache_bytes() const { return backing_.map_bytes() + unpacked_.bytes(); }

  /// The same top on the layer at depth `base`, at least 1; from size() on it stands alone. Nothing that was learned of
  /// what lies below the top holds for it.
  [[nodiscard]] std::shared_ptr<Chain> on_base(unsigned base) const;

  /// Each layer for people. What a layer below has told is kept: it may not answer a second time.
  [[nodiscard]] Result<std::vector<LayerInfo>> describe();

 private:
  Chain(Layers layers, std::uint64_t cache_bytes, bool alone, std::vector<std::shared_ptr<const LayerInfo>> told);
  [[nodiscard]] std::string backing_path(unsigned depth) const;

  const Layers layers_;
  const std::uint64_t cache_budget_;
  const bool alone_;
  UnpackedCache unpacked_;
  Backing backing_;
  mutable Mutex told_mutex_;
  std::vector<std::shared_ptr<const LayerInfo>> told_ GUARDED_BY(told_mutex_);  // by depth; of the top none
};

}  // namespace penstock
