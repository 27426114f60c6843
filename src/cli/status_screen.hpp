// SPDX-License-Identifier: Apache-2.0
/// The screen of `penstock status --watch`, as lines.
#pragma once

#include "cli/status_facts.hpp"
#include "cli/styled_line.hpp"
#include "cli/terminal.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::cli {

/// What the guest does a second.
struct GuestRates {
  double reads = 0;
  double read_bytes = 0;
  double writes = 0;
  double write_bytes = 0;
};

/// From two looks at the counters, so many seconds apart; nothing when that is no time.
[[nodiscard]] std::optional<GuestRates> guest_rates(const GuestFacts& before, const GuestFacts& now, double seconds);

/// How many cells of the heat map fit on the screen of this size that shows these facts.
[[nodiscard]] unsigned screen_cells(const StatusFacts& facts, TerminalSize size);

/// At most size.rows lines of at most size.columns columns: title, progress bar, what fits of the rest (the most
/// important first), heat map and its legend. `cells`: as heat_map() takes them.
[[nodiscard]] std::vector<std::string> status_screen(const StatusFacts& facts, const std::optional<GuestRates>& rates,
                                                     std::string_view cells, TerminalSize size, Look look);

}  // namespace penstock::cli
