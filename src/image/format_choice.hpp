// SPDX-License-Identifier: Apache-2.0
/// Which format a layer has when nobody said so. A raw disk's contents are the guest's: it can write a header that
/// names any file of the host. So contents decide only where that cannot do harm.
#pragma once

#include <penstock/format.hpp>

namespace penstock {

enum class Probing : std::uint8_t {
  free,      ///< read-only, at the user's own word: the contents decide
  writable,  ///< nothing is raw unless said so, and nothing named or placed like a raw disk is anything else
  stored,    ///< a backing file whose format the overlay does not store: raw, or refused
  not_raw,   ///< a backing file of which the overlay stores only that it is not raw
};

/// Whether an image is named or placed as people do with raw disks.
[[nodiscard]] bool looks_raw(const ImageName& name);

/// Errors: EINVAL with what to do. `name` is for its suffix.
[[nodiscard]] Result<const Format*> probe_safely(Storage& storage, const ImageName& name, Probing probing);

}  // namespace penstock
