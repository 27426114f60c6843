// SPDX-License-Identifier: Apache-2.0
#include "cli/service_notice.hpp"

#include "cli/daemon.hpp"
#include "cli/human.hpp"
#include "cli/progress.hpp"

#include "base/log.hpp"
#include "base/text.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <stop_token>

namespace penstock::cli {

namespace {

using std::chrono::microseconds;

std::optional<long long> number_in(const char* text) {
  if (text == nullptr) return std::nullopt;
  long long value = 0;
  const char* const end = text + std::strlen(text);
  const auto [stop, problem] = std::from_chars(text, end, value);
  if (problem != std::errc() || stop != end) return std::nullopt;
  return value;
}

/// "disk.qcow2 (qcow2, 10 GiB): streaming 41.2 %, 3.1 GiB left"
std::string status_line(const StatusFacts& facts) {
  std::string line = concat(facts.image, " (", facts.format, ", ", human_size(facts.virtual_size), ")");
  if (!facts.job) return line;
  const JobFacts& job = *facts.job;
  if (job.state == "done") return concat(line, ": provisioned", facts.finalised ? " and finalised" : "");
  line += concat(": streaming ", job.ended() ? job.state : "");
  if (job.ended()) return job.error.empty() ? line : concat(line, ": ", job.error);
  const std::string percent = percentage(job.data, job.data_in_the_end());
  line += percent.substr(percent.find_first_not_of(' '));
  if (job.to_copy != 0) line += concat(", ", human_size(job.to_copy), " left");
  const std::string obstacle = job.obstacle();
  return obstacle.empty() ? line : concat(line, ", ", obstacle);
}

}  // namespace

Result<std::optional<NotifySocket>> NotifySocket::from(const char* name) {
  if (name == nullptr || name[0] == '\0') return std::nullopt;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t size = std::strlen(name);
  if ((name[0] != '/' && name[0] != '@') || size >= sizeof address.sun_path) {
    return fail(EINVAL, concat("NOTIFY_SOCKET=", printable(name), ": neither an absolute path nor an abstract socket"));
  }
  std::memcpy(address.sun_path, name, size);
  if (name[0] == '@') address.sun_path[0] = '\0';
  Descriptor descriptor(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!descriptor) return system_failure("cannot make a socket");
  // At once: the sandbox lets nothing reach an abstract socket that was not connected before. A path ends with a zero,
  // which the structure has; an abstract name is as long as it is.
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  if (connect(descriptor.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    log_line(LogLevel::warning, system_failure("cannot reach the service manager").error().message());
    return std::nullopt;
  }
  return NotifySocket(std::move(descriptor));
}

Result<> NotifySocket::send(std::string_view lines) const {
  if (::send(descriptor_.get(), lines.data(), lines.size(), MSG_NOSIGNAL) < 0) {
    return system_failure("cannot tell the service manager");
  }
  return {};
}

std::optional<microseconds> watchdog_period(const char* microseconds_text, const char* process, int own_process) {
  const auto period = number_in(microseconds_text);
  if (!period || *period <= 0) return std::nullopt;
  if (process != nullptr && number_in(process) != own_process) return std::nullopt;
  return microseconds(*period);
}

Result<ServiceNotice> ServiceNotice::from_environment(bool service) {
  if (!service) return ServiceNotice(std::nullopt);
  ServiceNotice out(TRY(NotifySocket::from(std::getenv("NOTIFY_SOCKET"))));
  out.watchdog_ = watchdog_period(std::getenv("WATCHDOG_USEC"), std::getenv("WATCHDOG_PID"), getpid());
  return out;
}

void ServiceNotice::ready(const std::string& view, std::string_view about) {
  if (!socket_) return;
  if (const auto sent = socket_->send(concat("READY=1\nSTATUS=", about, "\n")); !sent) {
    log_line(LogLevel::warning, sent.error().message());
  }
  teller_ = std::jthread([this, view](const std::stop_token& stop) { keep_telling(stop, view); });
}

void ServiceNotice::stopping() {
  if (!socket_) return;
  teller_.request_stop();
  static_cast<void>(socket_->send("STOPPING=1\nSTATUS=unmounted; flushing and closing the image\n"));
}

void ServiceNotice::keep_telling(const std::stop_token& stop, const std::string& view) {
  using std::chrono::milliseconds;
  constexpr milliseconds kPauseMax{10'000};
  auto pause = kPauseMax;
  // Half the period, as sd_watchdog_enabled(3) recommends.
  if (watchdog_)
    pause = std::clamp(std::chrono::duration_cast<milliseconds>(*watchdog_ / 2), milliseconds(1), kPauseMax);
  const Descriptor wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const std::stop_callback on_stop(stop, [&wake] { eventfd_write(wake.get(), 1); });
  // Through the kernel and the control socket, as anybody would: a sign of life of all of it. When the mount is gone
  // there is nothing more to tell; when it hangs, the watchdog ends the service.
  auto daemon = Daemon::reach(view);
  std::string last;
  while (daemon && !stop.stop_requested()) {
    const auto facts = daemon->status();
    if (!facts) return;
    std::string lines = watchdog_ ? "WATCHDOG=1\n" : "";
    if (const std::string line = status_line(*facts); line != last) {
      lines += concat("STATUS=", line, "\n");
      last = line;
    }
    if (!lines.empty() && !stop.stop_requested()) static_cast<void>(socket_->send(lines));
    pollfd waiting{wake.get(), POLLIN, 0};
    static_cast<void>(poll(&waiting, 1, static_cast<int>(pause.count())));
  }
}

}  // namespace penstock::cli
