// SPDX-License-Identifier: Apache-2.0
#include "fuse/report.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <variant>

namespace penstock::fuse {

namespace {

Json describe_image(const LayerInfo& layer) {
  Json out = {{"filename", layer.path},
              {"format", layer.format},
              {"virtual-size", layer.virtual_size},
              {"actual-size", layer.allocated_bytes},
              {"dirty-flag", layer.details.dirty}};
  if (layer.details.cluster_size != 0) out["cluster-size"] = layer.details.cluster_size;
  if (!layer.backing.name.empty()) {
    out["backing-filename"] = layer.backing.name;
    out["full-backing-filename"] = layer.backing_path;
    if (!layer.backing.format.empty()) out["backing-filename-format"] = layer.backing.format;
  }
  if (!layer.details.items.empty()) {
    Json data = Json::object();
    for (const InfoItem& item : layer.details.items) {
      data[item.key] = std::visit([](const auto& value) { return Json(value); }, item.value);
    }
    out["format-specific"] = {{"type", layer.format}, {"data", std::move(data)}};
  }
  return out;
}

}  // namespace

Json describe_nodes(const std::vector<LayerInfo>& layers, bool writable, const std::string& detect_zeroes) {
  Json nodes = Json::array();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerInfo& layer = layers[i];
    Json node = {{"node-name", concat("layer", i)},
                 {"drv", layer.format},
                 {"file", layer.path},
                 {"ro", i != 0 || !writable},
                 {"encrypted", layer.details.encrypted},
                 {"backing_file_depth", layers.size() - 1 - i},
                 {"detect_zeroes", i == 0 ? detect_zeroes : "off"},
                 {"cache", {{"writeback", true}, {"direct", false}, {"no-flush", false}}},
                 {"write_threshold", 0},
                 {"image", describe_image(layer)}};
    for (const char* limit : {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"}) node[limit] = 0;
    if (!layer.backing.name.empty()) node["backing_file"] = layer.backing.name;
    nodes.push_back(std::move(node));
  }
  return nodes;
}

Json describe_layers(const std::vector<LayerInfo>& layers) {
  Json out = Json::array();
  for (const LayerInfo& layer : layers) {
    Json item = {{"filename", layer.path},
                 {"format", layer.format},
                 {"virtual-size", layer.virtual_size},
                 {"actual-size", layer.allocated_bytes}};
    if (layer.details.cluster_size != 0) item["cluster-size"] = layer.details.cluster_size;
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace penstock::fuse
