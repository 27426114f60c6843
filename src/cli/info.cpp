// SPDX-License-Identifier: Apache-2.0
/// penstock info: what an image is, in qemu-img's words.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/format_details.hpp"
#include "cli/human.hpp"
#include "cli/image_flags.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <memory>

namespace penstock::cli {

namespace {

struct Flags {
  std::string image;
  std::string format;
  std::string output = "human";
  bool chain = false;
  bool force_share = false;
};

Json layer_json(const LayerInfo& layer) {
  Json item = Json::object();
  const bool backed = !layer.backing.name.empty();
  if (backed && !layer.backing.format.empty()) item["backing-filename-format"] = layer.backing.format;
  if (!layer.details.snapshots.empty()) item["snapshots"] = snapshots_json(layer.details);
  item["virtual-size"] = layer.virtual_size;
  item["filename"] = layer.path;
  if (layer.details.cluster_size != 0) item["cluster-size"] = layer.details.cluster_size;
  item["format"] = layer.format;
  item["actual-size"] = layer.allocated_bytes;
  Json data = details_json(layer.details);
  if (!data.empty()) item["format-specific"] = Json{{"type", layer.format}, {"data", std::move(data)}};
  if (backed && !layer.backing_path.empty()) item["full-backing-filename"] = layer.backing_path;
  if (backed) item["backing-filename"] = layer.backing.name;
  if (layer.details.encrypted) item["encrypted"] = true;
  if (layer.details.compressed) item["compressed"] = true;
  item["dirty-flag"] = layer.details.dirty;
  return item;
}

std::string backing_text(const LayerInfo& layer) {
  if (layer.backing.name.empty()) return {};
  std::string out = concat("backing file: ", printable(layer.backing.name));
  if (layer.backing_path.empty()) {
    out += " (cannot determine actual path)";
  } else if (layer.backing_path != layer.backing.name) {
    out += concat(" (actual path: ", printable(layer.backing_path), ')');
  }
  out += '\n';
  if (!layer.backing.format.empty()) out += concat("backing file format: ", printable(layer.backing.format), '\n');
  return out;
}

std::string layer_text(const LayerInfo& layer) {
  std::string out = concat("image: ", printable(layer.path), "\nfile format: ", layer.format,
                           "\nvirtual size: ", human_size(layer.virtual_size), " (", layer.virtual_size,
                           " bytes)\ndisk size: ", human_size(layer.allocated_bytes), '\n');
  if (layer.details.encrypted) out += "encrypted: yes\n";
  if (layer.details.cluster_size != 0) out += concat("cluster_size: ", layer.details.cluster_size, '\n');
  if (layer.details.compressed) out += "compressed: yes\n";
  if (layer.details.dirty) out += "cleanly shut down: no\n";
  return out + backing_text(layer) + snapshots_text(layer.details) + details_text(layer.details);
}

int run_info(const Flags& flags) {
  ImageOptions options = reading(flags.format, flags.force_share);
  // Only headers are shown, so a backing file without a stored format may be guessed as qemu-img does.
  options.probe_backing = true;
  const auto layers = describe_chain(flags.image, options, flags.chain);
  if (!layers) return report(layers.error());
  if (flags.output == "human") {
    const char* separator = "";
    for (const LayerInfo& layer : *layers) {
      print(separator + layer_text(layer));
      separator = "\n";
    }
  } else if (flags.chain) {
    Json list = Json::array();
    for (const LayerInfo& layer : *layers) list.push_back(layer_json(layer));
    print(json_text(list));
  } else {
    print(json_text(layer_json(layers->front())));
  }
  const int status = finish_output(kSuccess);
  const auto& broken = layers->back().backing_error;
  return broken ? report(*broken) : status;
}

}  // namespace

Command info_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "info",
          .help = "Show what an image is",
          .options =
              {
                  format_option(flags->format),
                  {"--backing-chain", "", &flags->chain, "Show every image of the backing chain, from the top down"},
                  output_option(flags->output),
                  share_option(flags->force_share),
                  image_argument(flags->image),
              },
          .run = runs(run_info, flags)};
}

}  // namespace penstock::cli
