// SPDX-License-Identifier: Apache-2.0
/// The options that several subcommands share.
#pragma once

#include "cli/command.hpp"

#include <penstock/image.hpp>

#include <string>

namespace penstock::cli {

/// -f, --format
[[nodiscard]] Option format_option(std::string& format);
/// -U, --force-share
[[nodiscard]] Option share_option(bool& force_share);
/// --output human|json
[[nodiscard]] Option output_option(std::string& output);
/// -q, --quiet
[[nodiscard]] Option quiet_option(bool& quiet);
/// -p, --progress of what copies.
[[nodiscard]] Option copy_progress_option(bool& progress);
/// IMAGE, which must be given.
[[nodiscard]] Option image_argument(std::string& image);

/// How to open an image that is only read.
[[nodiscard]] ImageOptions reading(const std::string& format, bool force_share);

}  // namespace penstock::cli
