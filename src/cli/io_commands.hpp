// SPDX-License-Identifier: Apache-2.0
/// The commands of `penstock io`, in qemu-io's language.
#pragma once

#include <penstock/image.hpp>

#include <string>
#include <string_view>

namespace penstock::cli {

/// What discard does, as qemu-io's -d says it.
enum class DiscardMode : std::uint8_t { ignore, unmap };

/// The image that the commands work on.
struct IoSession {
  Image& image;
  std::string image_name;  ///< as given
  DiscardMode discard = DiscardMode::unmap;
};

enum class IoOutcome : std::uint8_t { done, failed, quit };

/// Runs one line; an empty one does nothing. Output and failures are printed as qemu-io prints them; a failure below
/// is also explained on standard error.
[[nodiscard]] IoOutcome run_io_line(IoSession& session, std::string_view line);

}  // namespace penstock::cli
