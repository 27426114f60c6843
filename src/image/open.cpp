// SPDX-License-Identifier: Apache-2.0
/// Opening an image with all that is below it, and showing what there is.
#include "image/chain_opener.hpp"
#include "image/layer.hpp"
#include "image/named.hpp"

namespace penstock {

Result<std::unique_ptr<Image>> Image::open(const std::string& name, const ImageOptions& options) {
  return open(TRY(named(name, parse_name(name))), options);
}

Result<std::unique_ptr<Image>> Image::open(const ImageName& name, const ImageOptions& options) {
  ChainOpener chain(name, options, {});
  static_cast<void>(TRY(chain.open_next()));
  if (options.backing) {
    while (TRY(chain.open_next())) {
    }
  }
  return make_image(chain.layers(), options);
}

Result<std::vector<LayerInfo>> describe_chain(const std::string& name, const ImageOptions& options, bool chain) {
  auto read_only = options;
  read_only.writable = false;
  ChainOpener opener(TRY(named(name, parse_name(name))), std::move(read_only),
                     {.for_info = true, .probe_freely = true});
  static_cast<void>(TRY(opener.open_next()));
  std::vector<LayerInfo> infos;
  for (;;) {
    const auto below = opener.next_name();
    const bool backed = !opener.layers().back()->driver->backing().name.empty();
    infos.push_back(TRY(describe_layer(opener.layers().back(), backed && below ? below->text() : std::string())));
    if (!chain) break;
    const auto next = opener.open_next();
    if (!next) infos.back().backing_error = next.error();
    if (!next || !*next) break;
  }
  return infos;
}

}  // namespace penstock
