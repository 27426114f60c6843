// SPDX-License-Identifier: Apache-2.0
/// A terminal taken over for a picture that is redrawn in place.
#pragma once

#include "cli/terminal.hpp"

#include <penstock/error.hpp>

#include <string>
#include <vector>

namespace penstock::cli {

/// Standard output on its second screen, without cursor; standard input, where it is a terminal too, without echo and
/// key by key. Gives both back as they were. One at a time.
class FullScreen {
 public:
  /// Errors: ENOTTY when standard output is no terminal.
  [[nodiscard]] static Result<> check();
  FullScreen();
  FullScreen(const FullScreen&) = delete;
  FullScreen& operator=(const FullScreen&) = delete;
  ~FullScreen();

  [[nodiscard]] static TerminalSize size();
  /// Lines that fit; what is left of the screen is cleared. Errors: the terminal is gone.
  [[nodiscard]] Result<> draw(const std::vector<std::string>& lines);
  /// To be polled for keys; -1: there is no keyboard.
  [[nodiscard]] int keyboard() const noexcept { return keyboard_; }
  /// Whether q, Q or Escape was among the keys pressed. When the keyboard has gone, keyboard() is -1 afterwards.
  [[nodiscard]] bool quit_pressed();

  /// What the destructor does, as a signal handler may do it.
  static void give_back() noexcept;

 private:
  int keyboard_ = -1;
};

}  // namespace penstock::cli
