// SPDX-License-Identifier: Apache-2.0
/// Shared and exclusive holds on ranges of clusters.
#pragma once

#include <penstock/error.hpp>
#include <penstock/range.hpp>

#include "base/mutex.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <span>

namespace penstock {

/// Who may touch which clusters. Holds conflict when their clusters overlap and one of them is exclusive; conflicting
/// holds are granted in the order in which they were asked for, so neither readers nor writers starve.
///
/// The disk is dealt out in regions to stripes, each with a mutex of its own; a hold is queued in every stripe that its
/// range touches, so that a small one locks one mutex, and one of any length at most all of them (kStripes).
/// Deadlock cannot be: a hold takes its stripes in ascending order, and waits in a stripe only for holds queued there
/// before it. For that, a thread must not ask for a second hold while it has one.
/// Units: guest bytes, widened to clusters. Threads: any.
class RangeLock {
 public:
  enum class Mode : std::uint8_t { shared, exclusive };
  static constexpr unsigned kStripes = 128;

  /// `cluster_size` in bytes, not 0.
  explicit RangeLock(std::uint32_t cluster_size);
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;

  class Hold;

  /// Every cluster there is or will be.
  static constexpr GuestRange everything() { return {{0}, 1ULL << 63U}; }

 private:
  /// A hold's place in the queue of one stripe. All of it is guarded by that stripe's mutex.
  struct Place {
    Hold* hold = nullptr;
    Place* before = nullptr;
    Place* behind = nullptr;
    unsigned blockers = 0;  ///< places before this one that conflict with it
  };
  struct alignas(64) Stripe {
    Mutex mutex;
    Place* first GUARDED_BY(mutex) = nullptr;
    Place* last GUARDED_BY(mutex) = nullptr;
  };

  std::uint64_t cluster_size_;
  std::uint64_t region_size_;
  std::array<Stripe, kStripes> stripes_;
};

/// One hold, from construction, which waits by the thread's rules (penstock/wait.hpp), to destruction. An empty range
/// holds nothing.
class RangeLock::Hold {
 public:
  Hold(RangeLock& lock, GuestRange range, Mode mode);
  ~Hold();
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

  /// Whether the clusters are held. Errors: the wait for them was forbidden.
  [[nodiscard]] const Result<>& taken() const { return taken_; }
  /// The clusters held.
  [[nodiscard]] GuestRange range() const { return range_; }

 private:
  [[nodiscard]] bool conflicts(const Hold& other) const;
  /// The stripe of the i-th place; ascending with i.
  [[nodiscard]] Stripe& stripe(unsigned i);
  [[nodiscard]] Result<> queue_and_wait(Stripe& stripe, Place& place);
  void leave(Stripe& stripe, Place& place);

  RangeLock& lock_;
  GuestRange range_;
  Mode mode_;
  unsigned first_stripe_ = 0;
  unsigned count_ = 0;
  ConditionVariable granted_;
  std::array<Place, 2> near_places_;  // what small requests need, without an allocation
  std::unique_ptr<Place[]> far_places_;
  std::span<Place> places_;
  Result<> taken_;
};

}  // namespace penstock
