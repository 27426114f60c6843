// SPDX-License-Identifier: Apache-2.0
#include "image/chain.hpp"

#include "base/text.hpp"
#include "image/named.hpp"

#include <algorithm>

namespace penstock {

namespace {

// The largest cluster of a layer that may be compressed; bounds what unpacking needs at least.
std::uint32_t packed_cluster_size(const Layers& layers) {
  std::uint32_t size = 0;
  for (const auto& layer : layers) {
    if (layer->driver->capabilities().compressed) size = std::max(size, layer->driver->geometry().cluster_size);
  }
  return size;
}

/// What can be said of a layer that is not asked.
LayerInfo without_answer(const std::shared_ptr<const Layer>& layer, std::string backing_path) {
  return {.path = layer->shown,
          .format = std::string(layer->driver->format()),
          .backing = layer->driver->backing(),
          .backing_path = std::move(backing_path),
          .virtual_size = layer->driver->virtual_size(),
          .allocated_bytes = 0,
          .capabilities = layer->driver->capabilities(),
          .facts = layer->files.front()->facts(),
          .details = {},
          .backing_error = {},
          .layer = layer};
}

}  // namespace

std::shared_ptr<const Layer> make_layer(std::string name, std::unique_ptr<FormatDriver> driver) {
  return std::make_shared<const Layer>(ImageName{.address = std::move(name)}, nullptr, std::move(driver));
}

Result<LayerInfo> describe_layer(const std::shared_ptr<const Layer>& layer, std::string backing_path) {
  auto info = without_answer(layer, std::move(backing_path));
  info.allocated_bytes = TRY(in_layer(*layer, layer->files.front()->allocated_bytes()));
  info.details = TRY(in_layer(*layer, layer->driver->info()));
  return info;
}

Chain::Chain(Layers layers, std::uint64_t cache_bytes) : Chain(std::move(layers), cache_bytes, false, {}) {}

Chain::Chain(Layers layers, std::uint64_t cache_bytes, bool alone, std::vector<std::shared_ptr<const LayerInfo>> told)
    : layers_(std::move(layers)),
      cache_budget_(cache_bytes),
      alone_(alone || (layers_.size() == 1 && layers_.front()->driver->backing().name.empty())),
      unpacked_(cache_bytes / 8, packed_cluster_size(layers_)),
      backing_(layers_, unpacked_, cache_bytes / 8),
      told_(std::move(told)) {
  told_.resize(layers_.size());
}

Result<unsigned> Chain::depth_of(const Layer* layer) const {
  if (layer == nullptr) return size();
  const auto found = std::ranges::find(layers_, layer, &std::shared_ptr<const Layer>::get);
  if (found != layers_.end()) return static_cast<unsigned>(found - layers_.begin());
  return fail(EINVAL, concat(printable(layers_.front()->shown), ": '", printable(layer->shown),
                             "' is not in its backing chain any more"));
}

std::shared_ptr<Chain> Chain::on_base(unsigned base) const {
  const auto behind = std::min(base, size());
  Layers layers{layers_.front()};
  layers.insert(layers.end(), layers_.begin() + behind, layers_.end());
  const MutexLock lock(told_mutex_);
  std::vector<std::shared_ptr<const LayerInfo>> told{nullptr};
  told.insert(told.end(), told_.begin() + behind, told_.end());
  const bool alone = layers.size() == 1;
  return std::shared_ptr<Chain>(new Chain(std::move(layers), cache_budget_, alone, std::move(told)));
}

std::string Chain::backing_path(unsigned depth) const {
  if (depth + 1 < size()) return layers_[depth + 1]->shown;
  const auto stored = layers_[depth]->driver->backing().name;
  if (stored.empty()) return {};
  const auto name = resolve_name(layers_[depth]->name, stored);
  return name ? name->text() : std::string();
}

Result<std::vector<LayerInfo>> Chain::describe() {
  // Asked without the mutex: a layer may not answer, and who wants another chain must not wait for it.
  const auto told = [this] {
    const MutexLock lock(told_mutex_);
    return told_;
  }();
  std::vector<LayerInfo> infos;
  for (unsigned depth = 0; depth < size(); ++depth) {
    const auto& layer = layers_[depth];
    if (told[depth]) {
      infos.push_back(*told[depth]);
      infos.back().layer = layer;
      continue;
    }
    auto described = describe_layer(layer, backing_path(depth));
    if (!described && depth == 0) return Failure(described.error());
    // A lower layer that cannot be reached any more must not hide what the others are.
    auto& info = infos.emplace_back(described ? *std::move(described) : without_answer(layer, backing_path(depth)));
    // A daemon leaves the directory that relative names count from.
    if (!info.facts.local_path.empty()) info.path = info.facts.local_path;
    if (depth == 0 || !described) continue;
    auto kept = std::make_shared<LayerInfo>(info);
    kept->layer.reset();  // it would hold what holds it
    const MutexLock lock(told_mutex_);
    told_[depth] = std::move(kept);
  }
  return infos;
}

}  // namespace penstock
