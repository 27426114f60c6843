// SPDX-License-Identifier: Apache-2.0
#include "storage/file/file_protocol.hpp"

#include "base/text.hpp"
#include "storage/file/file_storage.hpp"
#include "storage/json_name.hpp"

#include <array>
#include <filesystem>

namespace penstock {

namespace {

constexpr std::array<std::string_view, 2> kJsonDrivers{"file", "host_device"};

/// A ':' in a plain path must not be taken for a protocol when the name is read again.
std::string as_path(std::string path) {
  const auto colon = path.find(':');
  return colon != std::string::npos && colon < path.find('/') ? "./" + path : path;
}

Result<std::string> parse_path(std::string_view rest) {
  if (rest.empty()) return fail(EINVAL, "the file name is empty");
  return as_path(std::string(rest));
}

Result<std::string> path_from_json(JsonKeys& keys) {
  const auto path = TRY(keys.need_text("filename"));
  if (path.empty()) return unusable_json_name("has an empty file name");
  std::error_code error;
  auto absolute = std::filesystem::absolute(path, error);
  if (error) return fail(error.value(), concat("working directory: ", error.message()));
  return absolute.string();
}

std::string path_beside(const std::string& image, std::string_view relative) {
  return as_path(image.substr(0, image.rfind('/') + 1) + std::string(relative));
}

Result<std::string> identify_path(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return fail(errno, std::generic_category().message(errno));
  return file_identity(status);
}

}  // namespace

std::string file_identity(const struct stat& status) {
  if (S_ISBLK(status.st_mode)) return concat("block:", status.st_rdev);
  return concat("file:", status.st_dev, ":", status.st_ino);
}

constinit const Protocol kFileProtocol{.name = "file",
                                       .json_drivers = kJsonDrivers,
                                       .parse = parse_path,
                                       .from_json = path_from_json,
                                       .resolve = path_beside,
                                       .open = open_file_storage,
                                       .identify = identify_path,
                                       .create = create_file_storage};

}  // namespace penstock
