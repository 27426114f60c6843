// SPDX-License-Identifier: Apache-2.0
/// penstock measure: how large a copy would become.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/human.hpp"
#include "cli/image_flags.hpp"
#include "cli/json_text.hpp"
#include "cli/option_list.hpp"
#include "cli/size.hpp"

#include <penstock/measure.hpp>

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <memory>
#include <vector>

namespace penstock::cli {

namespace {

struct Flags {
  std::string image;
  std::string format;
  std::string target_format = "raw";
  std::string size;
  std::vector<std::string> options;
  std::string output = "human";
  bool force_share = false;
};

Result<Measure> measure(const Flags& flags, const std::map<std::string, std::string>& options, std::uint64_t size) {
  if (flags.image.empty()) return measure_image(flags.target_format, options, nullptr, size);
  const auto source = TRY(Image::open(flags.image, reading(flags.format, flags.force_share)));
  return measure_image(flags.target_format, options, source.get(), 0);
}

int run_measure(const Flags& flags) {
  if (flags.image.empty() == flags.size.empty()) return usage_error("measure", "either IMAGE or --size is required");
  std::map<std::string, std::string> options;
  for (const std::string& list : flags.options) {
    if (const auto added = add_options(list, options); !added) return usage_error("measure", added.error().message());
  }
  std::uint64_t size = 0;
  if (!flags.size.empty()) {
    const auto value = parse_size(flags.size);
    if (!value) return usage_error("measure", value.error().message());
    size = *value;
  }
  const auto measured = measure(flags, options, size);
  if (!measured) return report(measured.error());
  if (flags.output == "json") {
    print(json_text(Json{{"required", measured->required}, {"fully-allocated", measured->fully_allocated}}));
  } else {
    print(concat("required size: ", measured->required, "\nfully allocated size: ", measured->fully_allocated, '\n'));
  }
  return finish_output(kSuccess);
}

}  // namespace

Command measure_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "measure",
          .help = "Tell how large a copy of a disk would become",
          .options =
              {
                  format_option(flags->format),
                  {"-O,--target-format", "FMT", &flags->target_format, "Format of the copy; raw unless given"},
                  {"-o,--options", "OPTIONS", &flags->options, "Options of the copy's format, as for create"},
                  {"--size", "SIZE", &flags->size, "Measure an empty disk of this size instead of IMAGE"},
                  output_option(flags->output),
                  share_option(flags->force_share),
                  {"image", "IMAGE", &flags->image, "The image that would be copied"},
              },
          .run = runs(run_measure, flags)};
}

}  // namespace penstock::cli
