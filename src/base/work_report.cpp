// SPDX-License-Identifier: Apache-2.0
#include "base/work_report.hpp"

#include <utility>

namespace penstock {

namespace {
thread_local WorkListener* listening = nullptr;
}  // namespace

WorkListener::WorkListener(Listener listener)
    : listener_(std::move(listener)), outer_(std::exchange(listening, this)) {}

WorkListener::~WorkListener() {
  listening = outer_;
}

void tell_work(std::uint64_t done, std::uint64_t total) {
  if (listening != nullptr) listening->listener_(done, total);
}

}  // namespace penstock
