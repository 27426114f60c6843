// SPDX-License-Identifier: Apache-2.0
/// What a check has found so far.
#pragma once

#include <penstock/format.hpp>

#include <string>

namespace penstock::qcow2 {

/// Counts into a report and passes each finding on as a line. Threads: one at a time.
class Findings {
 public:
  using Log = std::function<void(std::string_view)>;

  /// `log` may be empty.
  explicit Findings(Log log) : log_(std::move(log)) {}

  void line(std::string_view text) const {
    if (log_) log_(text);
  }
  /// Damage found `count` times in the same place.
  void corruption(std::string_view text, std::uint64_t count = 1) {
    report.corruptions += count;
    line(text);
  }
  /// A place that could not be examined: nothing may be freed on the strength of such a check.
  void unexamined(std::string_view text) {
    ++report.check_errors;
    line(text);
  }
  /// Whether anybody hears the lines, so that they need not be put together for nobody.
  [[nodiscard]] bool heard() const { return static_cast<bool>(log_); }

  CheckReport report;

 private:
  Log log_;
};

}  // namespace penstock::qcow2
