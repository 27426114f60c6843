// SPDX-License-Identifier: Apache-2.0
#include "cli/end_request.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

namespace penstock::cli {

namespace {

// What a handler may touch.
volatile std::sig_atomic_t asked_to_end = 0;
volatile std::sig_atomic_t resized = 0;
volatile int wake_descriptor = -1;
void (*volatile words)() = nullptr;

void wake() {
  const int number = errno;
  const std::uint64_t one = 1;
  static_cast<void>(!write(wake_descriptor, &one, sizeof one));
  errno = number;
}

extern "C" void penstock_on_end(int signal) {
  if (asked_to_end != 0) {
    if (words != nullptr) words();
    _exit(128 + signal);
  }
  asked_to_end = 1;
  wake();
}

extern "C" void penstock_on_resize(int /*signal*/) {
  resized = 1;
  wake();
}

}  // namespace

EndRequest::EndRequest(void (*last_words)()) : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  asked_to_end = 0;
  resized = 0;
  wake_descriptor = wake_.get();
  words = last_words;
  struct sigaction action{};
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  action.sa_handler = penstock_on_end;
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
  sigaction(SIGHUP, &action, &old_hup_);
  action.sa_handler = penstock_on_resize;
  sigaction(SIGWINCH, &action, &old_winch_);
}

EndRequest::~EndRequest() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGHUP, &old_hup_, nullptr);
  sigaction(SIGWINCH, &old_winch_, nullptr);
  words = nullptr;
  wake_descriptor = -1;
}

bool EndRequest::asked() const noexcept {
  return asked_to_end != 0;
}

EndRequest::Woken EndRequest::wait(std::chrono::milliseconds time, int descriptor) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + time;
  for (;;) {
    if (asked()) return Woken::end;
    if (resized != 0) {
      resized = 0;
      return Woken::resize;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    if (left.count() <= 0) return Woken::time;
    std::array<pollfd, 2> waiting{{{wake_.get(), POLLIN, 0}, {descriptor, POLLIN, 0}}};
    const auto slice = static_cast<int>(std::min<std::chrono::milliseconds::rep>(left.count(), 3'600'000));
    if (poll(waiting.data(), waiting.size(), slice) <= 0) continue;
    std::uint64_t count = 0;
    static_cast<void>(!read(wake_.get(), &count, sizeof count));
    if (waiting[1].revents != 0) return Woken::input;
  }
}

}  // namespace penstock::cli
