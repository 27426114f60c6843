// SPDX-License-Identifier: Apache-2.0
/// The signals that ask a program to end.
#pragma once

#include <array>
#include <csignal>

namespace penstock {

inline constexpr std::array kEndingSignals{SIGINT, SIGTERM, SIGHUP};

[[nodiscard]] inline sigset_t ending_signals() {
  sigset_t out{};
  sigemptyset(&out);
  for (const int number : kEndingSignals) sigaddset(&out, number);
  return out;
}

}  // namespace penstock
