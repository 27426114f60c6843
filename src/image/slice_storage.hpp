// SPDX-License-Identifier: Apache-2.0
/// A part of a storage as a storage: raw disks inside a larger file ("json:" names with offset and size).
#pragma once

#include <penstock/storage.hpp>

#include <optional>

namespace penstock {

/// Bytes [offset, offset + size) of `storage`; without `size` up to its end, which stays where it is.
/// Errors: EINVAL when that passes the end.
[[nodiscard]] Result<std::shared_ptr<Storage>> slice_storage(std::shared_ptr<Storage> storage, std::uint64_t offset,
                                                             std::optional<std::uint64_t> size);

}  // namespace penstock
