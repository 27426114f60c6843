// SPDX-License-Identifier: Apache-2.0
/// The flags that several subcommands share.
#pragma once

#include <penstock/image.hpp>

#include <CLI/CLI.hpp>

#include <string>

namespace penstock::cli {

enum class OutputFormat : std::uint8_t { human, json };

/// -f, --format
void add_format_flag(CLI::App& command, std::string& format);
/// -U, --force-share
void add_share_flag(CLI::App& command, bool& force_share);
/// --output human|json
void add_output_flag(CLI::App& command, OutputFormat& output);
/// The positional IMAGE.
void add_image_argument(CLI::App& command, std::string& image);

/// How to open an image that is only read.
[[nodiscard]] ImageOptions reading(const std::string& format, bool force_share);

}  // namespace penstock::cli
