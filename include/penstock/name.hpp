// SPDX-License-Identifier: Apache-2.0
/// What the name of an image means, taken apart once: a path, "file:...", "json:{...}" or another protocol's.
/// Source: penstock-formats(5), "Backing names".
#pragma once

#include <penstock/error.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock {

/// Where the bytes of an image are, and what its name says about them.
struct ImageName {
  std::string protocol = "file";        ///< storage_protocols(), or one that opening refuses
  std::string address;                  ///< what the protocol finds the bytes by: of "file" a path
  std::string format;                   ///< "driver" of a json: name; empty: not said
  bool bytes_alone = false;             ///< a json: name of the bytes alone: no format can be laid over them
  std::optional<std::uint64_t> offset;  ///< json: the part of a raw file that is the disk, bytes
  std::optional<std::uint64_t> size;

  /// For people; of a name that is_plain(), the same name again.
  [[nodiscard]] std::string text() const;
  /// It says where the bytes are, and nothing else.
  [[nodiscard]] bool is_plain() const { return format.empty() && !bytes_alone && !offset && !size; }
  /// The last part of the address.
  [[nodiscard]] std::string_view file_name() const;
};

/// The name a user gives. Relative paths are the working directory's, and those in "json:" are made absolute, since a
/// daemon leaves that directory. A protocol that is not known here is left to whoever opens it.
/// Errors: EINVAL, the message does not repeat the name.
[[nodiscard]] Result<ImageName> parse_name(std::string_view text);

/// The name that `image` stores for another file. A relative one starts where `image` is, as that was given (of a path:
/// from its directory); one in "file:" or "json:" from the working directory, as in QEMU. Errors: as parse_name().
[[nodiscard]] Result<ImageName> resolve_name(const ImageName& image, std::string_view stored);

}  // namespace penstock
