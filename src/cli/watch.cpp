// SPDX-License-Identifier: Apache-2.0
#include "cli/watch.hpp"

#include "cli/end_request.hpp"
#include "cli/full_screen.hpp"
#include "cli/status_screen.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

namespace penstock::cli {

namespace {

using Clock = std::chrono::steady_clock;

/// One look at the mount.
struct Sample {
  StatusFacts facts;
  std::string cells;
  Clock::time_point taken;
};

Result<Sample> take_sample(Daemon& daemon, TerminalSize size) {
  Sample sample{.facts = TRY(daemon.status()), .taken = Clock::now()};
  constexpr unsigned kCellsMax = 65536;
  const unsigned wanted = std::min(screen_cells(sample.facts, size), kCellsMax);
  if (wanted == 0) return sample;
  // None while a layer does not answer; a daemon that is gone is told by the next status.
  sample.cells = daemon.cells(wanted).value_or(std::string());
  return sample;
}

/// Until somebody wants to end, or the mount has gone.
Result<> redraw(Daemon& daemon, std::chrono::milliseconds interval, FullScreen& screen, EndRequest& end) {
  const Look look{.colour = colours_wanted(), .unicode = utf8_locale()};
  std::optional<GuestRates> rates;
  std::optional<Sample> before;
  for (;;) {
    auto sample = take_sample(daemon, FullScreen::size());
    if (!sample && (sample.error().is(EPIPE) || sample.error().is(ECONNRESET))) return {};
    if (!sample) return Failure(sample.error());
    if (before && before->facts.guest && sample->facts.guest) {
      const double seconds = std::chrono::duration<double>(sample->taken - before->taken).count();
      rates = guest_rates(*before->facts.guest, *sample->facts.guest, seconds);
    }
    before = *std::move(sample);
    const auto next = Clock::now() + interval;
    // A new size shows the same sample; what it counts is not a moment's.
    // Once at least, however slow the machine is: keys are looked at here alone.
    auto now = Clock::now();
    do {
      TRY(screen.draw(status_screen(before->facts, rates, before->cells, FullScreen::size(), look)));
      const auto left = std::max(next - now, Clock::duration::zero());
      const auto woken = end.wait(std::chrono::ceil<std::chrono::milliseconds>(left), screen.keyboard());
      if (woken == EndRequest::Woken::end) return {};
      if (woken == EndRequest::Woken::input && screen.quit_pressed()) return {};
      now = Clock::now();
    } while (now < next);
  }
}

}  // namespace

Result<> watch(Daemon& daemon, std::chrono::milliseconds interval) {
  TRY(FullScreen::check());
  // Before the screen is taken: what cannot be asked is said on the ordinary one.
  TRY(daemon.status());
  EndRequest end(FullScreen::give_back);
  FullScreen screen;
  return redraw(daemon, interval, screen, end);
}

}  // namespace penstock::cli
