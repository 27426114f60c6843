// SPDX-License-Identifier: Apache-2.0
/// What a daemon tells about its image over the control socket.
#pragma once

#include <penstock/image.hpp>

#include "base/json.hpp"

namespace penstock::fuse {

/// The layers as QMP's query-named-block-nodes shows block nodes, from the top down.
/// Source: QEMU's qapi/block-core.json, BlockDeviceInfo and ImageInfo.
[[nodiscard]] Json describe_nodes(const std::vector<LayerInfo>& layers, bool writable,
                                  const std::string& detect_zeroes);

/// The layers as `penstock status` shows them: path, format, virtual size, host bytes in use.
[[nodiscard]] Json describe_layers(const std::vector<LayerInfo>& layers);

}  // namespace penstock::fuse
