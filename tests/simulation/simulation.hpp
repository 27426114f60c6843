// SPDX-License-Identifier: Apache-2.0
/// A life of an image that one number decides: what it is, what guests, a streaming job and its user do to it at the
/// same time, which calls of the disk fail, and when the power is cut, several times in a row.
#pragma once

#include "tests/support/recording_storage.hpp"

#include <string>

namespace penstock::test {

struct SimulationOutcome {
  std::string what;         ///< the image, for messages
  std::string problem;      ///< empty: nothing is wrong
  std::vector<Change> log;  ///< every change of every life
  unsigned lives = 0;
  unsigned crash_images = 0;
  std::uint64_t failures = 0;  ///< of calls, injected
};

/// Must not run beside other threads of the program.
[[nodiscard]] SimulationOutcome simulate(std::uint64_t seed);

}  // namespace penstock::test
