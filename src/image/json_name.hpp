// SPDX-License-Identifier: Apache-2.0
/// The object behind "json:" in an image name.
#pragma once

#include <penstock/error.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock {

struct JsonName {
  std::string format;  ///< "driver"; empty: not given
  std::string absolute_path;
  bool protocol_only = false;           ///< "driver" names the file node itself
  std::optional<std::uint64_t> offset;  ///< of raw
  std::optional<std::uint64_t> size;
};

/// `text` is what stands behind "json:". Nested and dotted keys mean the same. Taken are "driver", "file.driver",
/// "file.filename", and "offset" and "size" of raw; or the file node alone, "driver" and "filename".
/// A relative file name is the working directory's. Errors: EINVAL for anything else.
[[nodiscard]] Result<JsonName> parse_json_name(std::string_view text);

}  // namespace penstock
