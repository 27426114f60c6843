// SPDX-License-Identifier: Apache-2.0
/// Opening an image with all that is below it, and showing what there is.
#include "image/chain.hpp"
#include "image/image_impl.hpp"
#include "image/layer_info.hpp"
#include "image/named.hpp"

namespace penstock {

Result<std::unique_ptr<Image>> Image::open(const std::string& name, const ImageOptions& options) {
  ChainOpener chain(name, options, {});
  static_cast<void>(TRY(chain.open_next()));
  if (options.backing) {
    while (TRY(chain.open_next())) {
    }
  }
  return std::unique_ptr<Image>(
      new Image(std::make_unique<Impl>(std::move(chain.layers()), std::move(chain.backing_paths()), options)));
}

Result<std::vector<LayerInfo>> describe_chain(const std::string& name, const ImageOptions& options, bool chain) {
  auto read_only = options;
  read_only.writable = false;
  ChainOpener opener(name, std::move(read_only), {.for_info = true, .probe_freely = true});
  static_cast<void>(TRY(opener.open_next()));
  std::vector<LayerInfo> infos;
  for (;;) {
    infos.push_back(TRY(describe_layer(opener.layers().back(), opener.backing_paths().back())));
    if (!chain) break;
    const auto next = opener.open_next();
    if (!next) infos.back().backing_error = next.error();
    if (!next || !*next) break;
  }
  return infos;
}

}  // namespace penstock
