// SPDX-License-Identifier: Apache-2.0
/// One line an event: to standard error in the foreground, to syslog(3) once the daemon has left its terminal.
#pragma once

#include <cstdint>
#include <string_view>

namespace penstock {

enum class LogLevel : std::uint8_t { error, warning, info };

/// Lines below `least` are kept back from now on: error keeps only errors. At first all come. Thread-safe.
void set_log_level(LogLevel least);

/// "<3>" and the like when standard error is a stream of journald's, which takes the line's priority from it; else
/// empty. Source: sd-daemon(3), systemd.exec(5) "JOURNAL_STREAM".
[[nodiscard]] std::string_view journal_prefix(LogLevel level);

/// Thread-safe. `line` carries no line break and no "penstock: " in front.
void log_line(LogLevel level, std::string_view line);

/// From now on log_line() goes to syslog(3).
void log_to_syslog();

/// Lets through `burst` lines at once and then one in `seconds`, counting what it keeps back, so that damage in an
/// image cannot flood the log. Thread-safe.
void log_limited(LogLevel level, std::string_view line);

}  // namespace penstock
