// SPDX-License-Identifier: Apache-2.0
/// Which of the kernel's newer ways suit an image, and which are in use.
#pragma once

#include "fuse/service.hpp"
#include "fuse/session.hpp"

#include <memory>
#include <string>
#include <vector>

namespace penstock::fuse {

/// Whether some layer is.
[[nodiscard]] bool is_on_network(const std::vector<LayerInfo>& layers);

/// Mounts, by what of the kernel's newer ways was asked for and suits the image; `system` learns what it has to know of
/// that. `threads`: that serve at a time. Errors: as Session::mount().
[[nodiscard]] Result<std::unique_ptr<Session>> mount_session(FileSystem& system, const Image& image,
                                                             const std::vector<LayerInfo>& layers,
                                                             const ServeOptions& options, Unmounter& unmounter,
                                                             unsigned threads);

/// How requests come, for people: "requests over /dev/fuse".
[[nodiscard]] std::string describe_way(const Session& session, const FileSystem& system, const MountOptions& options,
                                       bool on_network);

}  // namespace penstock::fuse
