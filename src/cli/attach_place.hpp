// SPDX-License-Identifier: Apache-2.0
/// Where `attach` mounts: a directory of its own in the runtime directory, /run/penstock/attach-XXXXXX, mode 0700, with
/// one file in it that the view is laid over.
#pragma once

#include "control/socket.hpp"

#include <penstock/error.hpp>

#include "base/descriptor.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::cli {

/// A place in use. Others know by a lock (flock(2)) on the directory, which ends with the process.
class AttachPlace {
 public:
  /// Makes one for `image`, and removes those whose daemons were killed before a loop device used them.
  [[nodiscard]] static Result<AttachPlace> make(const std::string& image);

  [[nodiscard]] const std::string& view() const noexcept { return view_; }
  void remove();

 private:
  AttachPlace(std::string directory, std::string view, Descriptor lock)
      : directory_(std::move(directory)), view_(std::move(view)), lock_(std::move(lock)) {}

  std::string directory_;
  std::string view_;
  Descriptor lock_;
};

/// The directory of the place that `file` lies in; `file` may be cut off. Nothing when it lies elsewhere.
[[nodiscard]] std::optional<std::string> attach_directory_of(std::string_view file, std::string_view runtime);

/// The file in a place; nothing when there is none.
[[nodiscard]] std::optional<std::string> view_in(const std::string& directory);

/// What is mounted in places and has no loop device over it; also of an attachment that is just being made.
[[nodiscard]] std::vector<std::string> views_without_device();

/// The file in `path` when that is a place; else `path`.
[[nodiscard]] std::string view_of(const std::string& path);

/// Removes a place that nobody serves any more, with a dead mount in it.
void clear_place(const std::string& directory);

}  // namespace penstock::cli
