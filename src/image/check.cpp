// SPDX-License-Identifier: Apache-2.0
/// Checking and repairing the metadata of one image file.
#include "image/chain_opener.hpp"
#include "image/named.hpp"

namespace penstock {

Result<CheckedImage> check_image(const std::string& name, const ImageOptions& image, const CheckOptions& options) {
  auto top_only = image;
  top_only.writable = options.repair != Repair::none;
  const auto parsed = TRY(named(name, parse_name(name)));
  const auto shown = parsed.text();
  ChainOpener opener(parsed, std::move(top_only), {.probe_freely = true});
  auto file = TRY(opener.open_file());
  if (file.format->check == nullptr) {
    return fail(ENOSYS, concat(printable(shown), ": images of format ", file.format->name, " have no check"));
  }
  return CheckedImage{std::string(file.format->name),
                      TRY(named(shown, file.format->check(std::move(file.storage), file.options, options)))};
}

}  // namespace penstock
