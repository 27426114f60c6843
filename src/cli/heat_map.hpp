// SPDX-License-Identifier: Apache-2.0
/// The virtual disk as a picture in terminal cells: what the daemon answers to query-penstock-cells.
#pragma once

#include "cli/styled_line.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace penstock::cli {

/// `cells`: a character for each equal part of the disk: '.' missing, 'z' zero, '#' provisioned, '>' being copied, 'w'
/// written by the guest; from left to right and row after row. They are spread over what room there is when there are
/// more or fewer.
[[nodiscard]] std::vector<std::string> heat_map(std::string_view cells, unsigned columns, unsigned rows, Look look);

/// What the signs mean, in words that fit.
[[nodiscard]] StyledLine heat_map_legend(unsigned columns, Look look);

}  // namespace penstock::cli
