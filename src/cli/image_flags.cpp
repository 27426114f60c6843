// SPDX-License-Identifier: Apache-2.0
#include "cli/image_flags.hpp"

#include <map>

namespace penstock::cli {

void add_format_flag(CLI::App& command, std::string& format) {
  command.add_option("-f,--format", format, "Format of the image; probed where that is safe")->type_name("FMT");
}

void add_share_flag(CLI::App& command, bool& force_share) {
  command.add_flag("-U,--force-share", force_share, "Open the image even if another process is writing to it");
}

void add_output_flag(CLI::App& command, OutputFormat& output) {
  const std::map<std::string, OutputFormat> choices{{"human", OutputFormat::human}, {"json", OutputFormat::json}};
  command
      .add_option_function<std::string>(
          "--output", [&output, choices](const std::string& name) { output = choices.at(name); },
          "How to print: human or json")
      ->check(CLI::IsMember({"human", "json"}))
      ->type_name("FORMAT");
}

void add_image_argument(CLI::App& command, std::string& image) {
  command.add_option("image", image, "The image")->required()->type_name("IMAGE");
}

ImageOptions reading(const std::string& format, bool force_share) {
  ImageOptions options;
  options.format = format;
  options.lock = !force_share;
  return options;
}

}  // namespace penstock::cli
