// SPDX-License-Identifier: Apache-2.0
/// The streaming job: copies into the top layer what it lacks, in the background, until it stands alone.
#pragma once

#include <penstock/clock.hpp>
#include <penstock/executor.hpp>
#include <penstock/image.hpp>

#include <functional>
#include <memory>
#include <optional>

namespace penstock {

/// What happens when the backing file cannot be read, or the overlay not be written. A full disk is no error: the job
/// waits for room and goes on by itself, whatever the policy.
enum class OnError : std::uint8_t {
  report,  ///< the job fails; the backing file is kept
  retry,   ///< tries again after a pause that grows up to 30 s, for ever
  stop,    ///< pauses; resume() tries again
};

/// How an overlay is filled.
struct ProvisionOptions {
  std::uint64_t bytes_per_second = 0;  ///< of data copied; 0: unlimited
  /// The layer that stays below the top, with all that is below it: one of Image::layers(). Null: none stays.
  std::shared_ptr<const Layer> base = {};
  OnError on_error = OnError::report;
  /// Work that is done becomes durable after this time at the latest.
  std::chrono::milliseconds flush_interval{2000};
};

/// States: idle -> running <-> paused, running <-> waiting (for room, or to try again) -> finishing -> done;
/// from all but the last two: cancelled, failed.
enum class ProvisionState : std::uint8_t { idle, running, paused, waiting, finishing, done, cancelled, failed };

[[nodiscard]] std::string_view to_string(ProvisionState state);
/// Done, cancelled or failed: for good.
[[nodiscard]] bool has_ended(ProvisionState state);
/// Whether an error says that the host has no room (ENOSPC, EDQUOT), which a job waits for.
[[nodiscard]] bool means_no_room(const Error& error);

/// How far a job is.
struct Progress {
  ProvisionState state = ProvisionState::idle;
  std::uint64_t length = 0;  ///< virtual size of the disk
  std::uint64_t offset = 0;  ///< bytes of it that were passed, copied or found to need nothing
  Populated populated;       ///< since start()
  std::uint64_t bytes_per_second_max = 0;
  double bytes_per_second = 0;       ///< copied, over the last seconds
  double disk_bytes_per_second = 0;  ///< passed, over the last seconds: what the time left is told by
  std::uint64_t errors = 0;
  bool no_space = false;       ///< waiting for room
  std::optional<Error> error;  ///< the last one
};

/// Populates the whole image in the background, slower than requests and never in their way: while the guest is busy
/// one thread copies, in short steps with longer pauses. Then it finishes: flush, and the top lets go of the layers
/// that it no longer needs, in one durable change of its header. Progress survives a restart because it is read from
/// the top layer, not remembered. Units: bytes, bytes per second of data copied. Threads: any call from any thread but
/// the destructor. Errors: from wait() alone.
class Provisioner {
 public:
  /// `image`, `background` and `clock` outlive this. `changed` is told each new state, from the job's threads; it must
  /// not call back.
  Provisioner(Image& image, Executor& background, Clock& clock, ProvisionOptions options,
              std::function<void(const Progress&)> changed = {});
  Provisioner(const Provisioner&) = delete;
  Provisioner& operator=(const Provisioner&) = delete;
  /// Cancels and waits for the step in hand.
  ~Provisioner();

  /// Once.
  void start();
  void pause();
  /// Ends a pause, and a wait before the next try.
  void resume();
  /// Ends the job after the step in hand, which does not wait for other requests any more; what is copied stays.
  /// Without effect once it is finishing.
  void cancel();
  void set_speed(std::uint64_t bytes_per_second);
  /// Until the job has ended, with its last step: done, cancelled (ECANCELED) or failed with the error that ended it.
  [[nodiscard]] Result<> wait();
  /// Whether it has ended with its last step, or never began, at the latest after `patience`. Before, the destructor
  /// would wait.
  [[nodiscard]] bool wait_for_end(std::chrono::milliseconds patience);
  [[nodiscard]] Progress progress() const;

 private:
  class Job;
  std::unique_ptr<Job> job_;
};

}  // namespace penstock
