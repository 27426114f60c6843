// SPDX-License-Identifier: Apache-2.0
/// What `penstock umount` decides, apart from what it does.
#pragma once

#include "cli/status_facts.hpp"

#include <optional>
#include <string>

namespace penstock::cli {

/// What --wait does before it waits.
enum class FirstStep : std::uint8_t {
  none,    ///< nothing is to be copied: do not wait
  start,   ///< no job is under way: start one
  resume,  ///< it is paused
  wait,
};
[[nodiscard]] FirstStep first_step(const StatusFacts& facts);

/// Why the add-cow file cannot be deleted after the unmount; empty: it can, if the unmount goes well. `waits`: --wait
/// may still complete the raw file.
[[nodiscard]] std::string why_map_stays(const StatusFacts& facts, bool waits);

/// The answer to `quit`.
struct Ending {
  std::string outcome;  ///< closed, complete or incomplete
  std::string message;  ///< one line for people
};
/// Errors: EPROTO
[[nodiscard]] Result<Ending> ending_of(const Json& answer);

}  // namespace penstock::cli
