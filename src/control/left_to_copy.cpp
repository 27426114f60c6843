// SPDX-License-Identifier: Apache-2.0
#include "control/left_to_copy.hpp"

#include <algorithm>

namespace penstock::control {

Result<CopyAmounts> LeftToCopy::after(const Progress& progress) {
  constexpr unsigned kTimesAsLong = 20;
  constexpr std::chrono::milliseconds kPatience{500};
  const std::uint64_t copied = progress.populated.copied;
  const MutexLock lock(mutex_);
  auto now = clock_.now();
  if (!last_ || now >= last_->good_until) {
    const auto began = now;
    const GuestOffset from{progress.offset};
    const auto counted = counting_([this, from] { return count_amounts(image_, base_.get(), from); }, kPatience);
    now = clock_.now();
    if (counted) {
      last_ = Count{.amounts = TRY(*counted), .copied = copied, .good_until = now + kTimesAsLong * (now - began)};
    } else if (!last_) {
      return fail(ETIMEDOUT, "a layer does not answer");
    }
  }
  CopyAmounts amounts = last_->amounts;
  const auto since = std::min(copied - std::min(copied, last_->copied), amounts.to_copy);
  amounts.data += since;
  amounts.to_copy -= since;
  return amounts;
}

}  // namespace penstock::control
