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
  OutputFormat output = OutputFormat::human;
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
  if (flags.output == OutputFormat::json) {
    print(json_text(Json{{"required", measured->required}, {"fully-allocated", measured->fully_allocated}}));
  } else {
    print(concat("required size: ", measured->required, "\nfully allocated size: ", measured->fully_allocated, '\n'));
  }
  return finish_output(kSuccess);
}

}  // namespace

void add_measure(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("measure", "Tell how large a copy of a disk would become");
  add_format_flag(*command, flags->format);
  command->add_option("-O,--target-format", flags->target_format, "Format of the copy; raw unless given")
      ->type_name("FMT");
  command->add_option("-o,--options", flags->options, "Options of the copy's format, as for create")
      ->allow_extra_args(false)
      ->type_name("OPTIONS");
  command->add_option("--size", flags->size, "Measure an empty disk of this size instead of IMAGE")->type_name("SIZE");
  add_output_flag(*command, flags->output);
  add_share_flag(*command, flags->force_share);
  command->add_option("image", flags->image, "The image that would be copied")->type_name("IMAGE");
  command->callback([flags, &chosen] { chosen.run = [flags] { return run_measure(*flags); }; });
}

}  // namespace penstock::cli
