// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include "cli/duration.hpp"
#include "cli/human.hpp"
#include "cli/terminal.hpp"

#include "base/text.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

namespace penstock::cli {

namespace {

constexpr unsigned kBarColumnsMin = 10;
constexpr unsigned kBarColumnsMax = 60;
constexpr std::uint64_t kTenths = 10;

double fraction_of(const ProgressState& state) {
  return state.total == 0 ? 1.0 : static_cast<double>(state.done) / static_cast<double>(state.total);
}

std::string rate_text(const ProgressState& state) {
  if (!(state.rate > 0)) return {};
  return concat("  ", human_size(static_cast<std::uint64_t>(state.rate)), "/s");
}

std::string left_text(const ProgressState& state) {
  if (!state.note.empty()) return concat("  ", state.note);
  if (state.seconds_left < 0 || state.done >= state.total) return {};
  return concat("  ", human_duration(state.seconds_left), " left");
}

}  // namespace

std::string text_bar(double fraction, unsigned columns, bool unicode) {
  fraction = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
  std::string out;
  if (!unicode) {
    if (columns < 3) return std::string(columns, fraction < 1 ? ' ' : '#');
    const unsigned room = columns - 2;
    const auto full = static_cast<unsigned>(fraction * room);
    out.assign(full, '#');
    if (full < room) out += '>';
    out.resize(room, ' ');
    return concat('[', out, ']');
  }
  constexpr std::array<const char*, 8> kEighths{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<unsigned>(fraction * columns * 8);
  for (unsigned at = 0; at < columns; ++at) {
    if (eighths >= (at + 1) * 8) {
      out += "█";
    } else if (eighths > at * 8) {
      out += kEighths.at(eighths % 8);
    } else {
      out += "░";
    }
  }
  return out;
}

std::string percentage(std::uint64_t done, std::uint64_t total) {
  if (done >= total) return "100.0 %";
  // Rounded down: what is not done must not be called 100.
  const double part = std::floor(static_cast<double>(done) / static_cast<double>(total) * 1000) / 10;
  return printf_text("%5.1f %%", std::min(part, 99.9));
}

std::string progress_line(const ProgressState& state, unsigned columns, bool unicode) {
  const std::string title = state.title.empty() ? "" : concat(state.title, "  ");
  const std::string percent = percentage(state.done, state.total);
  const std::string tail = concat(rate_text(state), left_text(state));
  const auto room = [columns](const auto&... pieces) {
    return static_cast<long>(columns) - static_cast<long>((columns_of(pieces) + ...));
  };
  const long bar = std::min<long>(room(title, percent, tail) - 1, kBarColumnsMax);
  if (bar >= kBarColumnsMin) {
    return concat(title, text_bar(fraction_of(state), static_cast<unsigned>(bar), unicode), ' ', percent, tail);
  }
  if (room(title, percent, tail) >= 0) return concat(title, percent, tail);
  return clipped(concat(percent, tail), columns);
}

std::string progress_text(const ProgressState& state) {
  const auto size = percentage(state.done, state.total);
  return concat(state.title, state.title.empty() ? "" : ": ", size.substr(size.find_first_not_of(' ')), " (",
                human_size(state.done), " of ", human_size(state.total), ")", rate_text(state), left_text(state));
}

ProgressBar::ProgressBar(std::string title, ShowProgress when)
    : state_{.title = std::move(title)}, when_(when), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  make_way();
}

void ProgressBar::make_way() {
  if (!on_screen_) return;
  static_cast<void>(std::fputs("\r\033[K", stderr));
  on_screen_ = false;
  shown_.reset();
}

void ProgressBar::measure(std::uint64_t done) {
  constexpr double kStepInSeconds = 0.25;
  constexpr double kMemoryInSeconds = 3;
  const auto now = Clock::now();
  if (!measured_ || done < *measured_) {
    measured_ = done;
    measured_at_ = now;
    state_.rate = 0;
    return;
  }
  const double seconds = std::chrono::duration<double>(now - measured_at_).count();
  if (seconds < kStepInSeconds) return;
  const double rate = static_cast<double>(done - *measured_) / seconds;
  const double weight = state_.rate > 0 ? 1 - std::exp(-seconds / kMemoryInSeconds) : 1;
  state_.rate += weight * (rate - state_.rate);
  measured_ = done;
  measured_at_ = now;
}

void ProgressBar::update(std::uint64_t done, std::uint64_t total) {
  measure(done);
  const auto left = static_cast<double>(total > done ? total - done : 0);
  update(done, total, state_.rate, state_.rate > 0 ? left / state_.rate : -1);
}

void ProgressBar::update(std::uint64_t done, std::uint64_t total, double rate, double seconds_left,
                         std::string_view note) {
  state_.done = done;
  state_.total = total;
  state_.rate = rate;
  state_.seconds_left = seconds_left;
  state_.note = note;
  constexpr std::chrono::seconds kLong{1};
  if (finished_ || when_ == ShowProgress::never) return;
  if (when_ == ShowProgress::if_long && (!terminal_ || Clock::now() - made_at_ < kLong)) return;
  show(false);
}

void ProgressBar::finish() {
  if (when_ == ShowProgress::if_long) make_way();
  if (when_ == ShowProgress::always && !finished_ && shown_) show(true);
  finished_ = true;
}

void ProgressBar::show(bool last) {
  const auto now = Clock::now();
  if (terminal_) {
    if (!last && shown_ && now - *shown_ < std::chrono::milliseconds(100)) return;
    const std::string line =
        concat('\r', progress_line(state_, terminal_size(STDERR_FILENO).columns - 1, utf8_locale()), "\033[K",
               last ? "\n" : "");
    static_cast<void>(std::fputs(line.c_str(), stderr));
    on_screen_ = !last;
  } else {
    const auto tenth = state_.total == 0 ? kTenths : static_cast<std::uint64_t>(fraction_of(state_) * kTenths);
    if (shown_ && tenth <= tenth_shown_ && now - *shown_ < std::chrono::seconds(30)) return;
    tenth_shown_ = tenth;
    static_cast<void>(std::fputs(concat(progress_text(state_), '\n').c_str(), stderr));
  }
  shown_ = now;
}

}  // namespace penstock::cli
