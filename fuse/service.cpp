// SPDX-License-Identifier: Apache-2.0
#include "fuse/service.hpp"

#include "base/descriptor.hpp"
#include "base/ending_signals.hpp"
#include "base/log.hpp"
#include "base/memory.hpp"
#include "base/real_path.hpp"
#include "base/text.hpp"
#include "base/thread_room.hpp"
#include "control/server.hpp"
#include "control/stream_job.hpp"
#include "fuse/disk_picture.hpp"
#include "fuse/patience.hpp"
#include "fuse/report.hpp"
#include "fuse/sandbox.hpp"
#include "fuse/session.hpp"
#include "fuse/slots.hpp"
#include "fuse/ways.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace penstock::fuse {

namespace {

/// Of what query-penstock and query-penstock-histogram answer: the next number when a member goes or changes its
/// meaning. Source: share/status.schema.json.
constexpr int kStatusVersion = 1;

// As many requests at a time wait for the disk, beside those that are served: what a fast disk needs to be busy.
constexpr unsigned kSlotsThatMayBlock = 32;

constexpr unsigned kTasksAtLeast = 3;  // the attendant, one slot, and a process that unmounts

/// SIGTERM, SIGINT and SIGHUP as a descriptor to poll; blocked for all threads made from now on.
Result<Descriptor> catch_signals() {
  const sigset_t signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Descriptor out(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!out) return system_failure("cannot wait for signals");
  return out;
}

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
  struct stat image_file_{};            ///< which it was when it was mounted; its name may be another's later
  std::optional<Error> probe_failure_;  ///< written by the attendant, read after it has ended
};

Result<> Service::start() {
  const bool read_only = !image_->writable();
  serving_ = options_.threads == 0 ? default_request_slots() : options_.threads;
  TRY(check_memory_room());
  // An ordinary user's mount is ended by another process (fusermount3): not mounted where it could not be had.
  if (geteuid() != 0) TRY(check_thread_room(kTasksAtLeast + (begins_to_stream() ? 1 : 0)));
  control_ = TRY(control::Server::open(options_.version));
  TRY(start_tracing());
  ViewOptions view{.discard = options_.discard,
                   .resizable = options_.resizable,
                   .uid = options_.mount.uid.value_or(getuid()),
                   .gid = options_.mount.gid.value_or(getgid()),
                   .mode = options_.mount.mode.value_or(0600),
                   .trace = trace_.get()};
  if (read_only) view.mode &= ~static_cast<mode_t>(0222);
  if (options_.mount.writeback && !read_only) {
    size_in_doubt_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!size_in_doubt_) return system_failure("cannot make an event counter");
    view.on_write_behind_end = [counter = size_in_doubt_.get()] {
      const std::uint64_t one = 1;
      static_cast<void>(!::write(counter, &one, sizeof one));
    };
  }
  view_ = TRY(View::make(*image_, view));
  const std::string& top = layers_.front().path;
  if (stat(top.c_str(), &image_file_) != 0) image_file_ = {};
  system_ =
      std::make_unique<FileSystem>(FileSystem{*view_,
                                              options_.mountpoint.directory ? view_name(layers_.front().path) : "",
                                              {{"user.penstock.control", control_->path()},
                                               {"user.penstock.image", top},
                                               {"user.penstock.format", layers_.front().format}},
                                              options_.mount.max_read,
                                              options_.mount.max_write,
                                              options_.mount.writeback});
  first_look_ = TRY(unmounter_.prepare_first_look(view_path()));
  session_ = TRY(mount_session(*system_, *image_, layers_, options_, unmounter_, serving_));
  shut_in();
  if (trace_) TRY(or_no_thread([this] { trace_->start(); }));
  slots_ = std::make_unique<Slots>(*session_, *system_, serving_, kSlotsThatMayBlock);
  stream_ = std::make_unique<control::StreamJob>(*image_, *control_);
  add_commands();
  TRY(start_streaming());
  return {};
}

void Service::shut_in() {
  become_io_flusher();
  if (!options_.sandbox) return;
  SandboxNeeds needs;
  needs.control_directory = control_->path().substr(0, control_->path().rfind('/'));
  needs.network = is_on_network(layers_);
  needs.rings = session_->rings() != nullptr;
  sandbox_ = enter_sandbox(needs);
}

std::string Service::view_path() const {
  const std::string& place = options_.mountpoint.path;
  if (!options_.mountpoint.directory) return place;
  return concat(place, place.ends_with('/') ? "" : "/", system_->name);
}

Result<std::vector<LayerInfo>> Service::layers() {
  auto now = TRY(image_->layers());
  for (std::size_t i = 0; i + 1 < now.size(); ++i) now[i].backing_path = now[i + 1].path;
  return now;
}

Result<Json> Service::status() {
  const auto layers = TRY(this->layers());
  const auto activity = image_->activity();
  auto guest = view_->statistics().describe();
  // Damage, or a backing file that is gone, must not hide how the job is doing.
  const auto provisioned = describe_provisioned(*image_);
  guest["in-flight"] = activity.in_flight;
  return Json{{"version", kStatusVersion},
              {"program", concat("penstock ", options_.version)},
              {"image", system_->attributes.at("user.penstock.image")},
              {"format", layers.front().format},
              {"device", image_file_.st_dev},
              {"inode", image_file_.st_ino},
              {"mountpoint", options_.mountpoint.path},
              {"view", view_path()},
              {"virtual-size", image_->virtual_size()},
              {"actual-size", TRY(image_->allocated_bytes())},
              {"read-only", !image_->writable()},
              {"resizable", options_.resizable},
              {"discard", options_.discard == DiscardPolicy::unmap ? "unmap" : "ignore"},
              {"detect-zeroes", options_.detect_zeroes},
              {"pid", getpid()},
              {"sandbox", sandbox_},
              {"passthrough", system_->backing_id.has_value()},
              {"requests-over", session_->rings() != nullptr ? "io_uring" : "/dev/fuse"},
              {"mounted-at", std::chrono::system_clock::to_time_t(mounted_at_)},
              {"threads", serving_},
              {"cache-bytes", image_->cache_bytes()},
              {"cache-bytes-max", options_.cache_bytes},
              {"control", control_->path()},
              {"stream", stream_->describe()},
              {"copy-on-read",
               {{"enabled", image_->copies_on_read()},
                {"bytes", activity.copied_on_read},
                {"failures", activity.copy_on_read_failures}}},
              {"guest", std::move(guest)},
              {"provisioned", provisioned ? *provisioned : Json()},
              {"trace", trace_ ? trace_->describe() : Json()},
              {"finalised", layers_.size() > 1 && layers.size() == 1},
              {"layers", describe_layers(layers)}};
}

Result<Json> Service::cells(const Json& arguments) {
  const auto wanted = arguments.find("cells");
  if (wanted == arguments.end() || !wanted->is_number_unsigned() || *wanted < 1 || *wanted > Statistics::kCells) {
    return fail(EINVAL, concat("Parameter 'cells' expects a number from 1 to ", Statistics::kCells));
  }
  const auto stream = stream_->describe();
  std::optional<std::uint64_t> copying_at;
  if (stream.is_object() && stream["state"] == "running") copying_at = stream["offset"].get<std::uint64_t>();
  return Json{{"cells", TRY(draw_cells(*image_, view_->statistics(), wanted->get<std::uint32_t>(), copying_at))}};
}

Result<> Service::start_tracing() {
  if (options_.trace.empty()) return {};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  trace_ = TRY(Trace::create(
      real_path(options_.trace).value_or(options_.trace),
      {.virtual_size = image_->virtual_size(),
       .started_at = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count()),
       .image = layers_.front().path},
      options_.trace_bytes_max));
  return {};
}

bool Service::begins_to_stream() const {
  return options_.stream.value_or(image_->auto_start().stream && image_->writable());
}

Result<> Service::start_streaming() {
  if (options_.copy_on_read.value_or(image_->auto_start().copy_on_read)) image_->set_copy_on_read(true);
  if (!begins_to_stream()) return {};
  auto started = stream_->start(options_.streaming);
  if (started) return {};
  const auto problem = started.error().in(printable(layers_.front().path));
  if (options_.stream) return Failure(problem);
  log_line(LogLevel::warning, concat(problem.message(), "; not streaming"));
  return {};
}

Json Service::describe(const control::StreamJob::Outcome& outcome) const {
  const auto& layer = layers_.front();
  const auto image = printable(layer.path);
  if (outcome.complete) {
    const bool whole = !outcome.on_base;
    auto message = concat(image, whole ? ": provisioned and finalised; it needs no backing file any more"
                                       : ": provisioned; it now stands on its new backing file");
    if (whole && layer.format == "add-cow") message += ", and its raw file can be used alone";
    return {{"outcome", "complete"}, {"message", std::move(message)}};
  }
  if (outcome.incomplete) {
    return {{"outcome", "incomplete"},
            {"message", concat(image, ": ", outcome.percent, " % provisioned; ",
                               outcome.remembered ? "the next mount goes on" : "mount with --stream to go on")}};
  }
  return {{"outcome", "closed"}, {"message", concat(image, ": flushed and closed")}};
}

void Service::add_commands() {
  control_->on_command("query-version", [this](const Json&) -> Result<Json> {
    return control::greeting(options_.version)["QMP"]["version"];
  });
  control_->on_command("query-status", [](const Json&) -> Result<Json> {
    return Json{{"status", "running"}, {"singlestep", false}, {"running", true}};
  });
  control_->on_command("query-named-block-nodes", [this](const Json&) -> Result<Json> {
    return describe_nodes(TRY(layers()), image_->writable(), options_.detect_zeroes);
  });
  control_->on_command("query-block", [this](const Json&) -> Result<Json> {
    const auto nodes = describe_nodes(TRY(layers()), image_->writable(), options_.detect_zeroes);
    return Json::array({{{"device", control::StreamJob::kDevice},
                         {"type", "unknown"},
                         {"removable", false},
                         {"locked", false},
                         {"io-status", "ok"},
                         {"inserted", nodes.front()}}});
  });
  control_->on_command("query-blockstats", [this](const Json&) -> Result<Json> {
    return Json::array({{{"device", control::StreamJob::kDevice},
                         {"node-name", "layer0"},
                         {"stats", view_->statistics().block_stats()}}});
  });
  control_->on_command("query-penstock", [this](const Json&) { return status(); });
  control_->on_command("query-penstock-stream", [this](const Json&) -> Result<Json> { return stream_->describe(); });
  control_->on_command("query-penstock-histogram", [this](const Json&) -> Result<Json> {
    return Json{{"version", kStatusVersion}, {"requests", view_->statistics().describe_histograms()}};
  });
  control_->on_command("query-penstock-cells", [this](const Json& arguments) { return cells(arguments); });
  control_->on_quit([this] { return quit(); });
  control_->watch(signals_.get(), [this] { on_signal(); });
}

Result<> Service::quit() {
  const auto& mount = session_->mount_entry();
  for (const auto& entry : read_mounts()) {
    if (entry.device != mount.device || entry.id == mount.id) continue;
    return fail(EBUSY, concat("cannot unmount ", mount.path, ": it is also mounted at ", printable(entry.path),
                              "; unmount that first"));
  }
  TRY(unmount_patiently(*session_));
  // The kernel ends the session with the last mount of it. There may be some in other mount namespaces.
  if (slots_->wait_for_end(std::chrono::seconds(5))) return {};
  return fail(EBUSY, concat(mount.path,
                            " is unmounted here, but still mounted in another mount namespace; the image "
                            "is closed when that is gone"));
}

void Service::on_signal() {
  signalfd_siginfo information;
  while (::read(signals_.get(), &information, sizeof information) == static_cast<ssize_t>(sizeof information)) continue;
  if (options_.on_signal) options_.on_signal();
  const auto done = or_out_of_memory([this] { return session_->unmount(Unmount::unless_busy); });
  if (done) return;
  terminated_ = true;
  log_line(LogLevel::warning, concat("told to end: ", done.error().message(), "; ending nevertheless"));
  // Pages written through mappings reach the image while the slots still serve.
  session_->sync();
  if (const auto detached = or_out_of_memory([this] { return session_->unmount(Unmount::detach); }); !detached) {
    log_line(LogLevel::warning, detached.error().message());
  }
  slots_->stop();
}

Result<> Service::keep_size_known() {
  if (!size_in_doubt_) return {};
  control_->watch(size_in_doubt_.get(), [this] {
    std::uint64_t times = 0;
    static_cast<void>(!::read(size_in_doubt_.get(), &times, sizeof times));
    if (const auto done = announce_size(); !done) log_limited(LogLevel::warning, done.error().message());
  });
  return options_.mountpoint.directory ? Result<>() : announce_size();
}

Result<> Service::announce_size() const {
  return session_->announce_size(system_->name, view_->size());
}

void Service::attend(const Ready& ready) {
  auto answers = first_look_->take();
  first_look_.reset();
  if (answers) answers = keep_size_known();
  if (!answers) {
    probe_failure_ = std::move(answers).error();
    slots_->stop();
    return;
  }
  session_->read_further_ahead();
  if (!ready(view_path())) {
    probe_failure_ = Error(ECANCELED, "interrupted while mounting");
    slots_->stop();
    return;
  }
  log_line(LogLevel::info, concat(printable(layers_.front().path), ": mounted at ", printable(view_path())));
  log_line(LogLevel::info, concat(printable(layers_.front().path), ": ",
                                  describe_way(*session_, *system_, options_.mount, is_on_network(layers_))));
  control_->run();
}

Result<> Service::serve_until_unmounted(const Ready& ready) {
  std::jthread attendant;
  TRY(or_no_thread([&] { attendant = std::jthread([this, &ready] { attend(ready); }); }));
  auto served = slots_->run();
  const bool dead = served && !slots_->was_stopped() && session_->left_dead_mount();
  // Before the attendant is joined: it may wait for an answer of the file system.
  session_->end();
  control_->stop();
  attendant.join();
  if (!served) return served;
  if (probe_failure_) return Failure(*probe_failure_);
  if (dead) {
    return fail(ECONNABORTED,
                "the file system was cut off while it was in use; what was not synced before may be lost");
  }
  return {};
}

Result<> Service::run(const Ready& ready) {
  auto outcome = serve_until_unmounted(ready);
  if (options_.on_unmounted) options_.on_unmounted();
  // Before the image is closed: the job's threads use it.
  const auto streamed = stream_->end();
  // A trace that could not be written was warned of, and costs the image nothing.
  if (trace_) static_cast<void>(trace_->finish());
  auto closed = close_patiently(*image_);
  if (!closed) {
    const std::string message = concat(closed.error().message(), " (closing the image)");
    if (outcome) {
      outcome = fail(closed.error().number(), message);
    } else {
      log_line(LogLevel::error, message);
    }
  }
  if (outcome) {
    const auto ending = describe(streamed);
    log_line(LogLevel::info, ending["message"].get<std::string>());
    control_->finish(ending);
  } else {
    control_->finish(Failure(outcome.error()));
  }
  return outcome;
}

}  // namespace

Result<> serve(std::unique_ptr<Image> image, const ServeOptions& options, Unmounter& unmounter, const Ready& ready) {
  wait_for_memory();
  auto layers = TRY(image->layers());
  if (layers.empty()) return fail(EINVAL, concat(image->name(), ": has no layer"));
  TRY(check_not_a_layer(options.mountpoint, layers));
  for (LayerInfo& layer : layers) layer.path = real_path(layer.path).value_or(layer.path);
  auto signals = TRY(catch_signals());
  // One heap for all threads: tables of the caches are given back and taken by whichever thread, and a heap of each
  // thread's own would keep its peak for ever. Requests allocate small blocks alone, which the threads keep by them.
  mallopt(M_ARENA_MAX, 1);
  Service service(std::move(image), options, unmounter, std::move(layers), std::move(signals));
  TRY(service.start());
  return service.run(ready);
}

}  // namespace penstock::fuse
