// SPDX-License-Identifier: Apache-2.0
/// How much a streaming job still has to copy: what its percentage and the time left are told by.
#pragma once

#include <penstock/clock.hpp>
#include <penstock/copy_amounts.hpp>
#include <penstock/provisioner.hpp>

#include "base/mutex.hpp"

#include <optional>

namespace penstock::control {

/// For somebody who asks often. Counts again only when so much time has passed that counting is a small part of it;
/// between, what the job has copied since is taken off. Threads: any call from any thread.
class LeftToCopy {
 public:
  LeftToCopy(Image& image, unsigned base, Clock& clock) : image_(image), base_(base), clock_(clock) {}

  [[nodiscard]] Result<CopyAmounts> after(const Progress& progress);

 private:
  struct Count {
    CopyAmounts amounts;
    std::uint64_t copied = 0;
    Clock::Time good_until;
  };
  Image& image_;
  const unsigned base_;
  Clock& clock_;
  Mutex mutex_;
  std::optional<Count> last_ GUARDED_BY(mutex_);
};

}  // namespace penstock::control
