// SPDX-License-Identifier: Apache-2.0
#include <penstock/wait.hpp>

namespace penstock {

std::optional<Error> WaitLimit::forbids(WaitFor /*what*/) const noexcept {
  // Short: without an allocation.
  if (cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed)) return Error(ECANCELED, "cancelled");
  if (deadline_ && Clock::now() >= *deadline_) return Error(ETIMEDOUT, "took too long");
  return std::nullopt;
}

}  // namespace penstock
