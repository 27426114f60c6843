// SPDX-License-Identifier: Apache-2.0
#include "cli/image_flags.hpp"

namespace penstock::cli {

Option format_option(std::string& format) {
  return {"-f,--format", "FMT", &format, "Format of the image; probed where that is safe"};
}

Option share_option(bool& force_share) {
  return {"-U,--force-share", "", &force_share, "Open the image even if another process is writing to it"};
}

Option output_option(std::string& output) {
  return {"--output", "FORMAT", &output, "How to print: human or json", {.choices = {"human", "json"}}};
}

Option quiet_option(bool& quiet) {
  return {"-q,--quiet", "", &quiet, "Print only errors"};
}

Option copy_progress_option(bool& progress) {
  return {"-p,--progress", "", &progress, "Show how far the copy is, also elsewhere than on a terminal"};
}

Option image_argument(std::string& image) {
  return {"image", "IMAGE", &image, "The image", {.required = true}};
}

ImageOptions reading(const std::string& format, bool force_share) {
  ImageOptions options;
  options.format = format;
  options.lock = !force_share;
  return options;
}

}  // namespace penstock::cli
