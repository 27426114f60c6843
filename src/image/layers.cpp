// SPDX-License-Identifier: Apache-2.0
/// What the layers are, for `info` and `status`, and naming another backing file.
#include "image/image_impl.hpp"
#include "image/layer_info.hpp"
#include "image/named.hpp"

namespace penstock {

Result<LayerInfo> describe_layer(const Image::Layer& layer, std::string backing_path) {
  auto& driver = *layer.driver;
  return LayerInfo{.path = layer.path,
                   .format = std::string(driver.format()),
                   .backing = driver.backing(),
                   .backing_path = std::move(backing_path),
                   .virtual_size = driver.virtual_size(),
                   .allocated_bytes = TRY(in_layer(layer, driver.storage().allocated_bytes())),
                   .details = TRY(in_layer(layer, driver.info()))};
}

Result<std::uint64_t> Image::Impl::allocated_bytes() {
  TRY(check_request({}));
  auto bytes = TRY(in_layer(top_layer(), top().storage().allocated_bytes()));
  if (&top().data_storage() != &top().storage()) {
    bytes += TRY(in_layer(top_layer(), top().data_storage().allocated_bytes()));
  }
  return bytes;
}

Result<std::vector<LayerInfo>> Image::Impl::layers() {
  TRY(check_request({}));
  const SharedLock chain(chain_mutex_);
  const MutexLock telling(told_mutex_);
  std::vector<LayerInfo> infos;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i].told) {
      infos.push_back(*layers_[i].told);
      infos.back().backing_path = backing_paths_[i];
      continue;
    }
    auto described = describe_layer(layers_[i], backing_paths_[i]);
    if (!described && i == 0) return Failure(described.error());
    // A lower layer that cannot be reached any more must not hide what the others are.
    infos.push_back(described ? *described
                              : LayerInfo{.path = layers_[i].path,
                                          .format = std::string(layers_[i].driver->format()),
                                          .backing = layers_[i].driver->backing(),
                                          .backing_path = backing_paths_[i],
                                          .virtual_size = layers_[i].driver->virtual_size(),
                                          .allocated_bytes = 0,
                                          .details = {},
                                          .backing_error = {}});
    infos.back().path = absolute_paths_[i];
    if (i != 0 && described) layers_[i].told = std::make_shared<const LayerInfo>(infos.back());
  }
  return infos;
}

Result<> Image::Impl::change_backing(const BackingReference& backing) {
  TRY(check_change({{0}, 0}));
  TRY(begin_writing());
  return in_layer(top_layer(), top().change_backing(backing));
}

Result<> Image::Impl::make_empty() {
  TRY(check_change({{0}, 0}));
  TRY(begin_writing());
  const RangeLock::Hold hold(range_lock_, RangeLock::everything(), RangeLock::Mode::exclusive);
  TRY(hold.taken());
  TRY(check_request({}));
  return in_layer(top_layer(), top().make_empty());
}

}  // namespace penstock
