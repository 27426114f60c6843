// SPDX-License-Identifier: Apache-2.0
/// The parts of a mounted image's service: its life in service.cpp, what it answers to control commands in answers.cpp.
#pragma once

#include "fuse/service.hpp"

#include "base/descriptor.hpp"
#include "base/grace.hpp"
#include "base/json.hpp"
#include "base/timed_call.hpp"
#include "control/server.hpp"
#include "control/stream_job.hpp"
#include "fuse/session.hpp"
#include "fuse/slots.hpp"

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace penstock::fuse {

/// How long `status` waits for what may need to ask a layer.
inline constexpr std::chrono::milliseconds kLookPatience{500};

/// One mounted image, on three kinds of threads: the slots serve the kernel, the attendant serves control commands and
/// signals, the main thread makes slots, waits for their end and then closes the image. The attendant never outlives
/// the session.
class Service {
 public:
  Service(std::unique_ptr<Image> image, const ServeOptions& options, Unmounter& unmounter,
          std::vector<LayerInfo> layers, Descriptor signals)
      : image_(std::move(image)),
        options_(options),
        unmounter_(unmounter),
        layers_(std::move(layers)),
        signals_(std::move(signals)) {}

  Result<> start();
  /// Serves; afterwards the image is closed.
  Result<> run(const Ready& ready);

 private:
  /// Gives up what only mounting needed. Before any thread is made.
  void shut_in();
  void add_commands();
  /// As they are now, with absolute paths.
  Result<std::vector<LayerInfo>> layers();
  Result<Json> status();
  Result<Json> cells(const Json& arguments);
  bool begins_to_stream() const;
  Result<> start_streaming();
  Result<> start_tracing();
  /// How the mount ended, for whoever asked for it.
  Json describe(const control::StreamJob::Outcome& outcome) const;
  Result<> serve_until_unmounted(const Ready& ready);
  /// The attendant's: the first look at the view, then commands and signals.
  void attend(const Ready& ready);
  /// With the writeback cache: tells the kernel the size where it does not know it, at once and after every write
  /// behind the end, which it would else take for data that the disk has.
  Result<> keep_size_known();
  Result<> announce_size() const;
  Result<> quit();
  void on_signal();
  /// For what has to end.
  Grace grace() const;
  /// Returns when nobody does; else this is the end of the process, with the image flushed.
  void leave_who_waits(const control::StreamJob::Outcome& streamed);
  [[nodiscard]] std::string view_path() const;

  std::unique_ptr<Image> image_;
  const ServeOptions& options_;
  Unmounter& unmounter_;
  const std::vector<LayerInfo> layers_;
  Descriptor signals_;
  Descriptor size_in_doubt_;  ///< counts writes behind the end; with the writeback cache alone
  std::unique_ptr<control::Server> control_;
  std::unique_ptr<Trace> trace_;
  std::unique_ptr<View> view_;
  std::unique_ptr<FileSystem> system_;
  unsigned serving_ = 0;  ///< slots that work at the same time
  std::unique_ptr<FirstLook> first_look_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Slots> slots_;
  std::unique_ptr<control::StreamJob> stream_;
  const std::chrono::system_clock::time_point mounted_at_ = std::chrono::system_clock::now();
  std::atomic<bool> terminated_{false};  ///< a signal ended the mount while it was in use
  std::string sandbox_ = "off";
  struct stat image_file_{};  ///< which it was when it was mounted; its name may be another's later
  // By what these ask, a layer that does not answer would hold up the attendant.
  TimedCall<Result<std::shared_ptr<const Json>>> survey_;
  TimedCall<Result<std::string>> picture_;
  std::optional<Error> probe_failure_;  ///< written by the attendant, read after it has ended
};

}  // namespace penstock::fuse
