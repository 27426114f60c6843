// SPDX-License-Identifier: Apache-2.0
/// penstock create: a new image, empty or over a backing file.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/create_options.hpp"
#include "cli/human.hpp"
#include "cli/image_flags.hpp"
#include "cli/option_list.hpp"
#include "cli/progress.hpp"
#include "cli/size.hpp"

#include "base/text.hpp"
#include "base/work_report.hpp"

#include <algorithm>
#include <memory>
#include <vector>

namespace penstock::cli {

namespace {

struct Flags {
  std::string image;
  std::string size;
  std::string format = "raw";
  std::string backing;
  std::string backing_format;
  std::vector<std::string> options;
  bool unchecked = false;
  bool progress = false;
  bool quiet = false;
};

/// Takes "size", "backing_file" and "backing_fmt" out of the options: they have places of their own.
std::string take(std::map<std::string, std::string>& options, const std::string& key) {
  auto node = options.extract(key);
  return node.empty() ? std::string() : std::move(node.mapped());
}

Result<NewImage> request_from(const Flags& flags) {
  NewImage request;
  request.path = flags.image;
  request.format = flags.format;
  request.check_backing = !flags.unchecked;
  for (const std::string& list : flags.options) TRY(add_options(list, request.options));
  const std::string option_size = take(request.options, "size");
  if (!option_size.empty() && !flags.size.empty()) return fail(EINVAL, "the image size must be specified only once");
  const std::string& size = flags.size.empty() ? option_size : flags.size;
  if (!size.empty()) request.size = TRY(parse_size(size));
  const std::string option_backing = take(request.options, "backing_file");
  const std::string option_backing_format = take(request.options, "backing_fmt");
  request.backing.name = flags.backing.empty() ? option_backing : flags.backing;
  request.backing.format = flags.backing_format.empty() ? option_backing_format : flags.backing_format;
  return request;
}

int run_create(const Flags& flags) {
  if (std::any_of(flags.options.begin(), flags.options.end(), asks_for_help)) {
    const auto text = create_options_text(flags.format);
    if (!text) return report(text.error());
    print(*text);
    return finish_output(kSuccess);
  }
  if (flags.image.empty()) return usage_error("create", "image is required");
  const auto request = request_from(flags);
  if (!request) return usage_error("create", request.error().message());
  ProgressBar bar("Setting aside", progress_wish(flags.quiet, flags.progress));
  const WorkListener listener([&bar](std::uint64_t done, std::uint64_t total) { bar.update(done, total); });
  const auto created = create_image(*request);
  if (created) bar.finish();
  bar.make_way();
  if (!created) return report(created.error());
  if (!flags.quiet) {
    print(concat("Formatting '", printable(flags.image), "', fmt=", flags.format, ' ', printable(created->summary),
                 '\n'));
  }
  return finish_output(kSuccess);
}

}  // namespace

Command create_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "create",
          .help = "Make a new image",
          .options =
              {
                  {"-f,--format", "FMT", &flags->format, "Format of the new image; raw unless given"},
                  {"-b,--backing", "BACKING", &flags->backing,
                   "Backing file; what the new image does not hold is read there"},
                  {"-F,--backing-format", "FMT", &flags->backing_format, "Format of the backing file"},
                  {"-u,--unsafe", "", &flags->unchecked, "Do not open the backing file; SIZE must be given"},
                  {"-o,--options", "OPTIONS", &flags->options,
                   "Options of the format, key=value,...; a comma in a value is doubled; 'help' lists them"},
                  {"-p,--progress", "", &flags->progress,
                   "Show how far writing a preallocated image is, also elsewhere than on a terminal"},
                  quiet_option(flags->quiet),
                  {"image", "IMAGE", &flags->image, "The image file to make; an existing file is overwritten"},
                  {"size", "SIZE", &flags->size, "Virtual size in bytes, or with a suffix k, M, G, T, P or E"},
              },
          .run = runs(run_create, flags)};
}

}  // namespace penstock::cli
