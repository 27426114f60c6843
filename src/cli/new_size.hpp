// SPDX-License-Identifier: Apache-2.0
/// "[+|-]SIZE" of `resize`.
#pragma once

#include <penstock/error.hpp>

#include <cstdint>
#include <string_view>

namespace penstock::cli {

struct SizeChange {
  enum class Kind : std::uint8_t { absolute, grow, shrink };
  Kind kind = Kind::absolute;
  std::uint64_t bytes = 0;

  /// The new size. Errors: EFBIG beyond INT64_MAX, EINVAL when nothing would be left.
  [[nodiscard]] Result<std::uint64_t> apply(std::uint64_t old_size) const;
};

/// Errors: as parse_size().
[[nodiscard]] Result<SizeChange> parse_size_change(std::string_view text);

}  // namespace penstock::cli
