// SPDX-License-Identifier: Apache-2.0
/// Errors carry the name of the layer they come from.
#pragma once

#include "base/text.hpp"
#include "image/layer.hpp"

#include <utility>

namespace penstock {

/// `result` with "name: " in front of its error.
template <typename T>
[[nodiscard]] Result<T> named(std::string_view name, Result<T> result) {
  if (result) return result;
  if (result.error().is_would_wait()) return Failure(std::move(result).error());
  return Failure(result.error().in(printable(name)));
}

template <typename T>
[[nodiscard]] Result<T> in_layer(const Layer& layer, Result<T> result) {
  return named(layer.shown, std::move(result));
}

}  // namespace penstock
