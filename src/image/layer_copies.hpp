// SPDX-License-Identifier: Apache-2.0
/// The copies of rebase and commit, on images that are open: what is left is one change of the header.
#pragma once

#include <penstock/convert.hpp>

namespace penstock {

/// Stores in `image` what `next` (null: nothing) would show otherwise as its backing file, durably. What comes from
/// layer `common` of the image or below is the same in both chains.
[[nodiscard]] Result<> store_differences(Image& image, Image* next, unsigned common, Executor& executor,
                                         const CopyOptions& options);

/// Writes into `base` what `upper` holds, in which the base is left out, durably. A shorter base grows. From
/// `shown_end` on some layer of `upper` hides the base though none answers: zeroes are written there.
[[nodiscard]] Result<> copy_down(Image& upper, Image& base, std::uint64_t shown_end, Executor& executor,
                                 const CopyOptions& options);

}  // namespace penstock
