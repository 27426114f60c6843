// SPDX-License-Identifier: Apache-2.0
/// The streaming job as QMP shows and drives it. Source: QEMU's qapi/block-core.json and qapi/job.json.
#pragma once

#include <penstock/provisioner.hpp>

#include "control/left_to_copy.hpp"
#include "control/server.hpp"

#include "base/grace.hpp"
#include "base/timed_call.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

namespace penstock::control {

/// What a job is started with, in the words of people.
struct StreamRequest {
  std::uint64_t bytes_per_second = 0;  ///< 0: unlimited
  std::string base;                    ///< path of the layer that stays; empty: none
  std::string id;                      ///< the job's name for QMP; empty: kDevice
  OnError on_error = OnError::report;
};

/// At most one job at a time, over one image; another may follow. Events go to the server's clients.
///
/// States as QEMU's jobs have them: created -> running <-> paused -> waiting -> pending -> concluded -> null, or
/// aborting -> concluded -> null. Unlike QEMU's, an ended job is still shown by describe(), until another starts.
/// Threads: any call from any thread, but start() and the commands from one at a time.
class StreamJob {
 public:
  /// The name of the device, and of jobs that were given none.
  static constexpr std::string_view kDevice = "disk0";

  /// `image` and `server` outlive this. Adds the commands to the server.
  StreamJob(Image& image, Server& server);
  ~StreamJob();
  StreamJob(const StreamJob&) = delete;
  StreamJob& operator=(const StreamJob&) = delete;

  /// Also remembers the wish in the image, where it can and the whole chain is meant, so that the next mount goes on.
  /// Errors: EBUSY (one is running, or has not ended its last step), EROFS, EINVAL (no such layer).
  [[nodiscard]] Result<> start(const StreamRequest& request);

  /// For `query-penstock`; null before the first start().
  [[nodiscard]] Json describe() const;

  /// How it stands with provisioning when the image is unmounted.
  struct Outcome {
    bool complete = false;    ///< the backing file was dropped in this mount
    bool incomplete = false;  ///< a job was at it, and has not ended
    bool remembered = false;  ///< the next mount goes on by itself
    unsigned percent = 0;     ///< provisioned: of the data that is not to stay below
    bool on_base = false;     ///< complete: a backing file stays, the one that was asked for
    bool waits = false;       ///< its threads have not ended: they wait for a layer. This cannot be destroyed then
  };
  /// Ends the job: one that is finishing is waited for, another is cancelled after the step in hand; both no longer
  /// than `grace` allows.
  [[nodiscard]] Outcome end(Grace grace);

 private:
  void add_commands();
  /// Null: none stays.
  [[nodiscard]] Result<std::shared_ptr<const Layer>> layer_of(const std::string& base);
  [[nodiscard]] Result<Provisioner*> active(const Json& arguments);
  [[nodiscard]] bool is_active() const;
  [[nodiscard]] Result<> check_no_snapshots() const;
  [[nodiscard]] Json block_job() const;
  [[nodiscard]] unsigned percent(const Progress& progress) const;
  void on_change(const Progress& progress);
  void post(std::string_view event, Json data);
  void post_status(std::string_view status);

  Image& image_;
  Server& server_;
  std::unique_ptr<Executor> background_;
  StreamRequest request_;
  std::string id_{kDevice};
  TimedCall<Result<std::string>> search_;  ///< for a base by its file
  std::unique_ptr<Provisioner> provisioner_;
  std::unique_ptr<LeftToCopy> left_;  // together with provisioner_
  std::atomic<bool> finalised_{false};
};

[[nodiscard]] Json describe(const Progress& progress);

}  // namespace penstock::control
