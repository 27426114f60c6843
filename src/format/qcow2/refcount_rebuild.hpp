// SPDX-License-Identifier: Apache-2.0
/// Building refcount table and blocks anew when the old ones cannot be mended in place.
#pragma once

#include "format/qcow2/stored_refcounts.hpp"

namespace penstock::qcow2 {

/// Places a new table and new blocks in clusters that nobody refers to, writes them, makes them durable and only then
/// switches the header to them with one write; a crash leaves the old structures or the new ones. The old ones are free
/// afterwards. `header` follows the switch; `use` and `stored` are used up.
/// Errors: EFBIG when the table would be too large, ENOSPC, EIO; the image is as before then.
[[nodiscard]] Result<> rebuild_refcounts(Storage& storage, Header& header, ClusterUse& use,
                                         const StoredRefcounts& stored);

}  // namespace penstock::qcow2
