// SPDX-License-Identifier: Apache-2.0
/// How much a streaming job still has to copy: what its percentage and the time left are told by.
#pragma once

#include <penstock/clock.hpp>
#include <penstock/copy_amounts.hpp>
#include <penstock/provisioner.hpp>

#include "base/mutex.hpp"
#include "base/timed_call.hpp"

#include <optional>

namespace penstock::control {

/// For somebody who asks often. Counts again only when so much time has passed that counting is a small part of it;
/// between, what the job has copied since is taken off; so it is when counting takes too long, since a layer does not
/// answer. Threads: any call from any thread.
class LeftToCopy {
 public:
  /// `base`: as ProvisionOptions has it.
  LeftToCopy(Image& image, std::shared_ptr<const Layer> base, Clock& clock)
      : image_(image), base_(std::move(base)), clock_(clock) {}

  /// Errors: what hinders counting; ETIMEDOUT when it was never counted in time.
  [[nodiscard]] Result<CopyAmounts> after(const Progress& progress);
  /// Whether nothing is being counted, at the latest after `patience`. Before, the destructor would wait.
  [[nodiscard]] bool wait_until_idle(std::chrono::milliseconds patience) { return counting_.wait_until_idle(patience); }

 private:
  struct Count {
    CopyAmounts amounts;
    std::uint64_t copied = 0;
    Clock::Time good_until;
  };
  Image& image_;
  const std::shared_ptr<const Layer> base_;
  Clock& clock_;
  Mutex mutex_;
  std::optional<Count> last_ GUARDED_BY(mutex_);
  TimedCall<Result<CopyAmounts>> counting_;
};

}  // namespace penstock::control
