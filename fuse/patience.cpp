// SPDX-License-Identifier: Apache-2.0
#include "fuse/patience.hpp"

#include "base/memory.hpp"

#include <chrono>
#include <new>
#include <optional>
#include <thread>

namespace penstock::fuse {

Result<> unmount_patiently(const Session& session) {
  constexpr std::chrono::milliseconds kPatience{500};
  constexpr std::chrono::milliseconds kPause{25};
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    auto done = session.unmount(Unmount::unless_busy);
    if (done || !done.error().is(EBUSY) || std::chrono::steady_clock::now() > give_up) return done;
    std::this_thread::sleep_for(kPause);
  }
}

Result<> close_patiently(Image& image) {
  // Nothing was changed, so next to nothing is written: no reserve of memory is set aside for that.
  std::optional<MustHaveMemory> unchanged;
  if (MustHaveMemory::never_needed()) unchanged.emplace(std::nothrow);
  constexpr int kTries = 50;
  constexpr std::chrono::milliseconds kPause{100};
  for (int i = 0; i < kTries; ++i) {
    const auto flushed = or_out_of_memory([&image] { return image.flush(); });
    if (flushed || !flushed.error().is(ENOMEM)) break;
    std::this_thread::sleep_for(kPause);
  }
  return or_out_of_memory([&image] { return image.close(); });
}

}  // namespace penstock::fuse
