// SPDX-License-Identifier: Apache-2.0
/// What is tried again for a moment, because nobody can ask for it a second time.
#pragma once

#include "fuse/session.hpp"

#include <penstock/image.hpp>

namespace penstock::fuse {

/// Unmounts unless in use for half a second: something that looks at every new mount, or a loop device that lets go of
/// its file only after losetup(8) has returned, may hold the view for a moment. Any thread, while the slots serve.
[[nodiscard]] Result<> unmount_patiently(const Session& session);

/// Flushes and closes the image, again for up to five seconds when memory is short.
[[nodiscard]] Result<> close_patiently(Image& image);

}  // namespace penstock::fuse
