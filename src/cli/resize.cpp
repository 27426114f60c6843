// SPDX-License-Identifier: Apache-2.0
/// penstock resize: another virtual size, absolute or relative.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/human.hpp"
#include "cli/image_flags.hpp"
#include "cli/new_size.hpp"

#include "base/text.hpp"

#include <memory>
#include <vector>

namespace penstock::cli {

namespace {

struct Flags {
  std::string image;
  std::string size;
  std::string format;
  bool shrink = false;
  bool quiet = false;
};

Result<> resize_image(const Flags& flags, const SizeChange& change) {
  ImageOptions options;
  options.format = flags.format;
  options.writable = true;
  const auto image = TRY(Image::open(flags.image, options));
  const std::uint64_t old_size = image->virtual_size();
  const auto size = change.apply(old_size);
  if (!size) return Failure(size.error().in(flags.image));
  if (*size < old_size && !flags.shrink) {
    return fail(EINVAL, concat(flags.image, ": ", *size, " bytes are less than the ", old_size,
                               " the image has; say --shrink to delete all data beyond the new end"));
  }
  if (const auto done = image->resize(*size); !done) return done;
  return image->close();
}

int run_resize(const Flags& flags) {
  const auto change = parse_size_change(flags.size);
  if (!change) return usage_error("resize", change.error().message());
  const auto done = resize_image(flags, *change);
  if (!done) return report(done.error());
  if (!flags.quiet) print("Image resized.\n");
  return finish_output(kSuccess);
}

/// "-1G" looks like an option to the parser and is left over.
Result<> take_negative_size(const CLI::App& command, Flags& flags) {
  const std::vector<std::string> left_over = command.remaining();
  for (const std::string& argument : left_over) {
    if (argument == "--") continue;  // the end of the options stays among what is left over
    const bool negative = argument.size() > 1 && argument[0] == '-' && argument[1] >= '0' && argument[1] <= '9';
    if (!negative || !flags.size.empty()) {
      return fail(EINVAL, concat("The following argument was not expected: ", argument));
    }
    flags.size = argument;
  }
  if (flags.size.empty()) return fail(EINVAL, "size is required");
  return {};
}

}  // namespace

void add_resize(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("resize", "Change the virtual size of an image");
  add_format_flag(*command, flags->format);
  command->add_flag("--shrink", flags->shrink, "Allow a smaller size; what lies behind it is deleted");
  command->add_flag("-q,--quiet", flags->quiet, "Print only errors");
  add_image_argument(*command, flags->image);
  command->add_option("size", flags->size, "New size in bytes; +SIZE and -SIZE change the present one")
      ->type_name("[+|-]SIZE");
  command->allow_extras();
  command->callback([flags, command, &chosen] {
    chosen.run = [flags, command] {
      const auto complete = take_negative_size(*command, *flags);
      return complete ? run_resize(*flags) : usage_error("resize", complete.error().message());
    };
  });
}

}  // namespace penstock::cli
