// SPDX-License-Identifier: Apache-2.0
#include "image/range_lock.hpp"

#include "base/patient_wait.hpp"

namespace penstock {

namespace {
// Wide enough that a request of usual size lies in one or two stripes, small enough that hot spots spread.
constexpr std::uint64_t kRegionMin = 256U << 10U;
}  // namespace

RangeLock::RangeLock(std::uint32_t cluster_size)
    : cluster_size_(cluster_size),
      region_size_(align_up(std::max<std::uint64_t>(kRegionMin, cluster_size), cluster_size)) {}

RangeLock::Hold::Hold(RangeLock& lock, GuestRange range, Mode mode)
    : lock_(lock), range_(widen(range, lock.cluster_size_)), mode_(mode) {
  if (range.empty()) return;
  const auto first = range_.offset.value / lock_.region_size_;
  const auto regions = (range_.end().value - 1) / lock_.region_size_ - first + 1;
  count_ = static_cast<unsigned>(std::min<std::uint64_t>(regions, kStripes));
  first_stripe_ = static_cast<unsigned>(first % kStripes);
  if (count_ <= near_places_.size()) {
    places_ = std::span(near_places_).first(count_);
  } else {
    far_places_ = std::make_unique<Place[]>(count_);
    places_ = {far_places_.get(), count_};
  }
  for (unsigned i = 0; i < count_ && taken_; ++i) {
    taken_ = queue_and_wait(stripe(i), places_[i]);
    if (taken_) continue;
    // Nothing is held without all of it.
    for (unsigned queued = 0; queued <= i; ++queued) leave(stripe(queued), places_[queued]);
    count_ = 0;
  }
}

RangeLock::Hold::~Hold() {
  for (unsigned i = 0; i < count_; ++i) leave(stripe(i), places_[i]);
}

bool RangeLock::Hold::conflicts(const Hold& other) const {
  return (mode_ == Mode::exclusive || other.mode_ == Mode::exclusive) && range_.overlaps(other.range_);
}

RangeLock::Stripe& RangeLock::Hold::stripe(unsigned i) {
  if (count_ == kStripes) return lock_.stripes_[i];
  const unsigned end = first_stripe_ + count_;
  if (end <= kStripes) return lock_.stripes_[first_stripe_ + i];
  const unsigned wrapped = end - kStripes;  // stripes at the start, taken first to keep the order
  return lock_.stripes_[i < wrapped ? i : first_stripe_ + (i - wrapped)];
}

Result<> RangeLock::Hold::queue_and_wait(Stripe& stripe, Place& place) {
  const MutexLock lock(stripe.mutex);
  place.hold = this;
  place.before = stripe.last;
  (stripe.last != nullptr ? stripe.last->behind : stripe.first) = &place;
  stripe.last = &place;
  for (const auto* earlier = place.before; earlier != nullptr; earlier = earlier->before) {
    if (conflicts(*earlier->hold)) ++place.blockers;
  }
  PatientWait wait(WaitFor::turn);
  while (place.blockers != 0) TRY(wait.on(granted_, stripe.mutex));
  return {};
}

void RangeLock::Hold::leave(Stripe& stripe, Place& place) {
  const MutexLock lock(stripe.mutex);
  (place.before != nullptr ? place.before->behind : stripe.first) = place.behind;
  (place.behind != nullptr ? place.behind->before : stripe.last) = place.before;
  for (auto* later = place.behind; later != nullptr; later = later->behind) {
    // Notified under the mutex: once it is free the waiter may be granted and gone.
    if (conflicts(*later->hold) && --later->blockers == 0) later->hold->granted_.notify_one();
  }
}

}  // namespace penstock
