// SPDX-License-Identifier: Apache-2.0
/// What the layers are, for `info` and `status`, and naming another backing file.
#include "image/layered_image.hpp"
#include "image/named.hpp"

namespace penstock {

Result<> LayeredImage::start() {
  for (const auto& layer : TRY(open_chain())->layers()) {
    for (Storage* const file : layer->files) TRY(in_layer(*layer, file->start()));
  }
  return {};
}

unsigned LayeredImage::layer_count() const noexcept {
  const auto layers = chain();
  return layers ? layers->size() : 0;
}

std::uint64_t LayeredImage::cache_bytes() const {
  const auto layers = chain();
  return layers ? layers->cache_bytes() : 0;
}

Result<std::uint64_t> LayeredImage::allocated_bytes() {
  const auto layers = TRY(open_chain());
  std::uint64_t bytes = 0;
  for (Storage* const file : top_layer().files) bytes += TRY(in_layer(top_layer(), file->allocated_bytes()));
  return bytes;
}

Result<std::vector<LayerInfo>> LayeredImage::layers() {
  return TRY(open_chain())->describe();
}

Result<> LayeredImage::change_backing(const BackingReference& backing) {
  TRY(check_change({{0}, 0}));
  TRY(begin_writing());
  return in_layer(top_layer(), top().change_backing(backing));
}

Result<> LayeredImage::make_empty() {
  TRY(check_change({{0}, 0}));
  TRY(begin_writing());
  const RangeLock::Hold hold(range_lock_, RangeLock::everything(), RangeLock::Mode::exclusive);
  TRY(hold.taken());
  TRY(check_request({}));
  return in_layer(top_layer(), top().make_empty());
}

}  // namespace penstock
