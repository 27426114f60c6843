// SPDX-License-Identifier: Apache-2.0
#include "image/backing_name.hpp"

#include "base/text.hpp"
#include "image/json_name.hpp"

namespace penstock {

namespace {

constexpr std::string_view kFile = "file:";
constexpr std::string_view kJson = "json:";

bool has_protocol(std::string_view name) {
  const auto colon = name.find(':');
  return colon != std::string_view::npos && colon < name.find('/');
}

std::string directory_of(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string() : std::string(path.substr(0, slash + 1));
}

ImageLocation at_path(std::string path) {
  // A ':' in a plain path must not be taken for a protocol later.
  if (has_protocol(path)) path.insert(0, "./");
  auto directory = directory_of(path);
  return {.storage_name = std::move(path), .directory = std::move(directory)};
}

}  // namespace

Result<ImageLocation> locate_image(std::string_view name) {
  if (name.starts_with(kJson)) {
    auto parsed = TRY(parse_json_name(name.substr(kJson.size())));
    auto location = at_path(std::move(parsed.absolute_path));
    location.format = std::move(parsed.format);
    location.protocol_only = parsed.protocol_only;
    location.offset = parsed.offset;
    location.size = parsed.size;
    return location;
  }
  if (name.starts_with(kFile))
    name.remove_prefix(kFile.size());
  else if (has_protocol(name))
    return ImageLocation{.storage_name = std::string(name), .directory = {}};
  if (name.empty()) return fail(EINVAL, "the file name is empty");
  return at_path(std::string(name));
}

Result<ImageLocation> locate_stored(const ImageLocation& image, std::string_view name) {
  if (name.empty() || name.starts_with('/') || has_protocol(name)) return locate_image(name);
  return at_path(image.directory + std::string(name));
}

}  // namespace penstock
