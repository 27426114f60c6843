// SPDX-License-Identifier: Apache-2.0
/// One layer as the user knows it, from its open driver.
#pragma once

#include <penstock/image.hpp>

namespace penstock {

/// `backing_path`: the backing name resolved, empty without one.
[[nodiscard]] Result<LayerInfo> describe_layer(const Image::Layer& layer, std::string backing_path);

}  // namespace penstock
