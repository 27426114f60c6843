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
  std::vector<std::string> left_over;
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

/// The size as it was given. "-1G" looks like an option to the parser and is left over.
Result<std::string> given_size(const Flags& flags) {
  std::string size = flags.size;
  for (const std::string& word : flags.left_over) {
    if (word == "--") continue;  // the end of the options stays among what is left over
    const bool negative = word.size() > 1 && word[0] == '-' && word[1] >= '0' && word[1] <= '9';
    if (!negative || !size.empty()) {
      return fail(EINVAL, concat("The following argument was not expected: ", word));
    }
    size = word;
  }
  if (size.empty()) return fail(EINVAL, "size is required");
  return size;
}

int run_resize(const Flags& flags) {
  const auto size = given_size(flags);
  if (!size) return usage_error("resize", size.error().message());
  const auto change = parse_size_change(*size);
  if (!change) return usage_error("resize", change.error().message());
  const auto done = resize_image(flags, *change);
  if (!done) return report(done.error());
  if (!flags.quiet) print("Image resized.\n");
  return finish_output(kSuccess);
}

}  // namespace

Command resize_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "resize",
          .help = "Change the virtual size of an image",
          .options =
              {
                  format_option(flags->format),
                  {"--shrink", "", &flags->shrink, "Allow a smaller size; what lies behind it is deleted"},
                  quiet_option(flags->quiet),
                  image_argument(flags->image),
                  {"size", "[+|-]SIZE", &flags->size, "New size in bytes; +SIZE and -SIZE change the present one"},
              },
          .run = runs(run_resize, flags),
          .left_over = &flags->left_over};
}

}  // namespace penstock::cli
