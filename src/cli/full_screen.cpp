// SPDX-License-Identifier: Apache-2.0
#include "cli/full_screen.hpp"

#include <termios.h>
#include <unistd.h>

#include <array>
#include <string_view>

namespace penstock::cli {

namespace {

// For give_back(), which is all that a signal handler has.
termios found_input{};
volatile bool input_changed = false;

// Second screen, no cursor, no wrapping at the right edge; and back.
constexpr std::string_view kTake = "\033[?1049h\033[?25l\033[?7l";
constexpr std::string_view kGiveBack = "\033[0m\033[?7h\033[?25h\033[?1049l";

Result<> write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_failure("the terminal");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

Result<> FullScreen::check() {
  if (isatty(STDOUT_FILENO) == 1) return {};
  return fail(ENOTTY, "standard output is no terminal to draw on; without --watch the status is printed once");
}

FullScreen::FullScreen() {
  if (tcgetattr(STDIN_FILENO, &found_input) == 0) {
    keyboard_ = STDIN_FILENO;
    termios keys = found_input;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    // Stopping by ^Z would leave the screen taken.
    keys.c_cc[VSUSP] = _POSIX_VDISABLE;
    keys.c_cc[VMIN] = 0;
    keys.c_cc[VTIME] = 0;
    input_changed = tcsetattr(STDIN_FILENO, TCSANOW, &keys) == 0;
  }
  static_cast<void>(write_all(kTake));
}

FullScreen::~FullScreen() {
  give_back();
}

void FullScreen::give_back() noexcept {
  static_cast<void>(!::write(STDOUT_FILENO, kGiveBack.data(), kGiveBack.size()));
  if (input_changed) tcsetattr(STDIN_FILENO, TCSAFLUSH, &found_input);
  input_changed = false;
}

TerminalSize FullScreen::size() {
  return terminal_size(STDOUT_FILENO);
}

Result<> FullScreen::draw(const std::vector<std::string>& lines) {
  std::string out = "\033[H";
  for (std::size_t at = 0; at < lines.size(); ++at) {
    // Cleared before it is written: a line that fills its row leaves the cursor on its last cell.
    out.append("\033[0m\033[K").append(lines[at]);
    if (at + 1 < lines.size()) out += "\r\n";
  }
  // To the end of the screen, from the row below: the last row may be full.
  if (lines.size() < size().rows) out += "\r\n\033[0m\033[J";
  return write_all(out);
}

bool FullScreen::quit_pressed() {
  std::array<char, 64> keys;
  const ssize_t count = ::read(keyboard_, keys.data(), keys.size());
  if (count <= 0) {
    if (count == 0 || errno != EINTR) keyboard_ = -1;
    return false;
  }
  const std::string_view pressed(keys.data(), static_cast<std::size_t>(count));
  // A lone Escape; with more behind it, it is an arrow or the like.
  return pressed.find_first_of("qQ") != std::string_view::npos || pressed == "\033";
}

}  // namespace penstock::cli
