// SPDX-License-Identifier: Apache-2.0
/// What the name of an image means: a path, "file:...", "json:{...}" or another protocol's.
/// Source: penstock-formats(5), "Backing names".
#pragma once

#include <penstock/error.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock {

/// Where the bytes of an image are, and what its name says about them.
struct ImageLocation {
  std::string storage_name;             ///< for open_storage(), and for people
  std::string directory;                ///< what relative names in the image are put behind: "" or ending in '/'
  std::string format;                   ///< "driver" of a json: name; empty: not said
  bool protocol_only = false;           ///< a json: name of the bytes alone: no format can be laid over it
  std::optional<std::uint64_t> offset;  ///< json: the part of a raw file that is the disk, bytes
  std::optional<std::uint64_t> size;
};

/// The name a user gives. Relative paths are the working directory's, and those in "json:" are made absolute, since a
/// daemon leaves that directory. A protocol that is not known here is left to open_storage().
/// Errors: EINVAL, the message does not repeat the name.
[[nodiscard]] Result<ImageLocation> locate_image(std::string_view name);

/// The name that `image` stores for another file. A relative path starts from the directory of the image's own path as
/// that was given; one in "file:" or "json:" from the working directory, as in QEMU.
[[nodiscard]] Result<ImageLocation> locate_stored(const ImageLocation& image, std::string_view name);

}  // namespace penstock
