// SPDX-License-Identifier: Apache-2.0
/// How far a long command is: a bar that redraws itself on a terminal, a line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock::cli {

/// `columns` characters: "[######>     ]", or the same with Unicode blocks. `fraction`: 0 to 1, else the nearer end.
[[nodiscard]] std::string text_bar(double fraction, unsigned columns, bool unicode);

/// " 12.3 %", seven columns; 100 only when done is all of total (or more).
[[nodiscard]] std::string percentage(std::uint64_t done, std::uint64_t total);

/// What is known while something is under way.
struct ProgressState {
  std::string title;
  std::uint64_t done = 0;    ///< bytes
  std::uint64_t total = 0;   ///< bytes; 0: all is done
  double rate = 0;           ///< bytes/s; 0: not known
  double seconds_left = -1;  ///< below 0: not known
  std::string note;          ///< "paused" and the like, shown instead of the time left
};

/// One line for a terminal so wide: the title, a bar that takes what room is left, percentage, rate and time left; the
/// bar goes first and the title last where room is short. Never wider.
[[nodiscard]] std::string progress_line(const ProgressState& state, unsigned columns, bool unicode);

/// The same without a bar, for a log.
[[nodiscard]] std::string progress_text(const ProgressState& state);

enum class ShowProgress : std::uint8_t {
  never,
  if_long,  ///< on a terminal, from the second second on, and gone at the end
  always,
};
/// What -q and -p ask for.
[[nodiscard]] inline ShowProgress progress_wish(bool quiet, bool asked) {
  if (quiet) return ShowProgress::never;
  return asked ? ShowProgress::always : ShowProgress::if_long;
}

/// Writes to standard error, so that what a command prints stays its own. On a terminal the line is redrawn in place at
/// most ten times a second; elsewhere a line comes at every tenth part, and at least every 30 seconds.
/// Units: bytes. Threads: one at a time. Errors: none; an output that fails is nobody's loss.
class ProgressBar {
 public:
  ProgressBar(std::string title, ShowProgress when);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  /// Takes an unfinished bar off the terminal, so that an error message stands on a line of its own.
  ~ProgressBar();

  /// Rate and time left come from the last seconds.
  void update(std::uint64_t done, std::uint64_t total);
  /// The same with rate and time left as somebody else knows them.
  void update(std::uint64_t done, std::uint64_t total, double rate, double seconds_left, std::string_view note = {});
  /// Shows the last update as it is, and ends the line. Later calls do nothing.
  void finish();
  /// Takes the bar off the terminal until the next update, for a line of somebody else's.
  void make_way();

 private:
  using Clock = std::chrono::steady_clock;
  void measure(std::uint64_t done);
  void show(bool last);

  ProgressState state_;
  const ShowProgress when_;
  const bool terminal_;
  bool finished_ = false;
  bool on_screen_ = false;
  std::optional<Clock::time_point> shown_;
  std::uint64_t tenth_shown_ = 0;
  const Clock::time_point made_at_ = Clock::now();
  // The rate is smoothed over steps of a quarter second or more.
  Clock::time_point measured_at_ = Clock::now();
  std::optional<std::uint64_t> measured_;
};

}  // namespace penstock::cli
