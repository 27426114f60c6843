// SPDX-License-Identifier: Apache-2.0
/// One image file of a chain, open.
#pragma once

#include <penstock/image.hpp>

#include <memory>
#include <string>
#include <vector>

namespace penstock {

/// What is open of one layer, and by what name. It does not change; what its driver says may. Threads: as FormatDriver.
struct Layer {
  /// `format` is null for a driver that no format made.
  Layer(ImageName layer_name, const Format* layer_format, std::unique_ptr<FormatDriver> layer_driver)
      : name(std::move(layer_name)),
        shown(name.text()),
        format(layer_format),
        driver(std::move(layer_driver)),
        files(driver->files()) {}

  const ImageName name;     ///< as given, or as resolved from what the layer above stores
  const std::string shown;  ///< the name for people
  const Format* const format;
  const std::unique_ptr<FormatDriver> driver;
  const std::vector<Storage*> files;  ///< the driver's: its own first, then those that the image names for its data
};

/// From the top down. Whoever holds one keeps it open.
using Layers = std::vector<std::shared_ptr<const Layer>>;

/// Whether a hole in a file of `layer` is one of the disk, and can be asked for.
[[nodiscard]] inline bool tells_holes(const Layer& layer, const Storage& file) {
  return layer.driver->capabilities().sparse_data && file.facts().tells_holes;
}

/// For tests and tools: `name` is taken as it is.
[[nodiscard]] std::shared_ptr<const Layer> make_layer(std::string name, std::unique_ptr<FormatDriver> driver);

/// An image of layers that are open, of which the first may be written. Of `options`, what Image::open() says of the
/// layers is not asked.
[[nodiscard]] std::unique_ptr<Image> make_image(Layers layers, const ImageOptions& options);
/// The same of one driver without a backing file.
[[nodiscard]] std::unique_ptr<Image> make_image(std::unique_ptr<FormatDriver> driver, std::string name, bool writable);

/// What `layer` is, for people. `backing_path`: its backing file's name resolved, empty without one.
[[nodiscard]] Result<LayerInfo> describe_layer(const std::shared_ptr<const Layer>& layer, std::string backing_path);

}  // namespace penstock
