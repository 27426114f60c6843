// SPDX-License-Identifier: Apache-2.0
#include "cli/new_size.hpp"

#include "cli/size.hpp"

#include "base/text.hpp"

namespace penstock::cli {

Result<std::uint64_t> SizeChange::apply(std::uint64_t old_size) const {
  switch (kind) {
    case Kind::grow:
      if (bytes > INT64_MAX || old_size > INT64_MAX - bytes) {
        return fail(EFBIG, concat("growing by ", bytes, " bytes gives more than ", INT64_MAX));
      }
      return old_size + bytes;
    case Kind::shrink:
      if (bytes >= old_size) {
        return fail(EINVAL, concat("the image has ", old_size, " bytes; taking ", bytes, " away leaves none"));
      }
      return old_size - bytes;
    case Kind::absolute:
      break;
  }
  if (bytes == 0) return fail(EINVAL, "the new size must be positive");
  return bytes;
}

Result<SizeChange> parse_size_change(std::string_view text) {
  SizeChange change;
  if (text.starts_with('+') || text.starts_with('-')) {
    change.kind = text.front() == '+' ? SizeChange::Kind::grow : SizeChange::Kind::shrink;
    text.remove_prefix(1);
  }
  change.bytes = TRY(parse_size(text));
  return change;
}

}  // namespace penstock::cli
