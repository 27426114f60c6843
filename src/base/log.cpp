// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include "base/mutex.hpp"
#include "base/text.hpp"

#include <syslog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

namespace penstock {

namespace {

std::atomic<bool> use_syslog{false};

class Limiter {
 public:
  /// How many lines were kept back since the last one let through, or -1 to keep this one back too.
  std::int64_t admit() {
    using std::chrono::steady_clock;
    const MutexLock lock(mutex_);
    const auto now = steady_clock::now();
    if (tokens_ < kBurst && now - refilled_ >= kInterval) {
      tokens_ = std::min<std::int64_t>(kBurst, tokens_ + (now - refilled_) / kInterval);
      refilled_ = now;
    }
    if (tokens_ == 0) {
      ++kept_back_;
      return -1;
    }
    --tokens_;
    return std::exchange(kept_back_, 0);
  }

 private:
  static constexpr std::int64_t kBurst = 20;
  static constexpr std::chrono::seconds kInterval{5};
  Mutex mutex_;
  std::int64_t tokens_ GUARDED_BY(mutex_) = kBurst;
  std::int64_t kept_back_ GUARDED_BY(mutex_) = 0;
  std::chrono::steady_clock::time_point refilled_ GUARDED_BY(mutex_){};
};

}  // namespace

void log_to_syslog() {
  openlog("penstock", LOG_PID, LOG_DAEMON);
  use_syslog = true;
}

void log_line(LogLevel level, std::string_view line) {
  if (use_syslog) {
    constexpr std::array<int, 3> kPriorities{LOG_ERR, LOG_WARNING, LOG_INFO};
    syslog(kPriorities[static_cast<std::size_t>(level)], "%.*s", static_cast<int>(line.size()), line.data());
    return;
  }
  // One write a line: lines of several threads do not mix.
  const std::string whole = concat("penstock: ", line, '\n');
  static_cast<void>(std::fwrite(whole.data(), 1, whole.size(), stderr));
}

void log_limited(LogLevel level, std::string_view line) {
  static Limiter limiter;
  const auto kept_back = limiter.admit();
  if (kept_back < 0) return;
  if (kept_back > 0) log_line(level, concat(kept_back, " similar lines were left out"));
  log_line(level, line);
}

}  // namespace penstock
