// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include "base/mutex.hpp"
#include "base/text.hpp"

#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

namespace penstock {

namespace {

std::atomic<bool> use_syslog{false};
std::atomic<LogLevel> most_talkative{LogLevel::info};
constexpr std::array<int, 3> kPriorities{LOG_ERR, LOG_WARNING, LOG_INFO};

/// Whether standard error is the stream that whoever started us says is journald's: it may have been redirected since.
bool is_journal() {
  const char* const named = std::getenv("JOURNAL_STREAM");
  struct stat stream{};
  if (named == nullptr || fstat(STDERR_FILENO, &stream) != 0) return false;
  return named == concat(stream.st_dev, ':', stream.st_ino);
}

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

void set_log_level(LogLevel least) {
  most_talkative = least;
}

std::string_view journal_prefix(LogLevel level) {
  constexpr std::array<std::string_view, 3> kPrefixes{"<3>", "<4>", "<6>"};
  return is_journal() ? kPrefixes[static_cast<std::size_t>(level)] : "";
}

void log_line(LogLevel level, std::string_view line) {
  if (level > most_talkative.load(std::memory_order_relaxed)) return;
  if (use_syslog) {
    syslog(kPriorities[static_cast<std::size_t>(level)], "%.*s", static_cast<int>(line.size()), line.data());
    return;
  }
  // One write a line: lines of several threads do not mix.
  const std::string whole = concat(journal_prefix(level), "penstock: ", line, '\n');
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
