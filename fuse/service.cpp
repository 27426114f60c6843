// SPDX-License-Identifier: Apache-2.0
#include "fuse/service_impl.hpp"

#include "base/descriptor.hpp"
#include "base/ending_signals.hpp"
#include "base/log.hpp"
#include "base/memory.hpp"
#include "base/real_path.hpp"
#include "base/text.hpp"
#include "base/thread_room.hpp"
#include "fuse/patience.hpp"
#include "fuse/sandbox.hpp"
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

// So many requests at a time may wait, beside those that are served, before one that need not has to wait for them.
constexpr unsigned kSlotsThatMayBlock = 1000;

/// How long requests and the streaming job may take to end. Source: penstock-mount(1), "Layers that do not answer".
constexpr std::chrono::seconds kGrace{10};

constexpr unsigned kTasksAtLeast = 2 + Slots::kTasksToEnd;  // the attendant, one slot

/// SIGTERM, SIGINT and SIGHUP as a descriptor to poll; blocked for all threads made from now on.
Result<Descriptor> catch_signals() {
  const sigset_t signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Descriptor out(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!out) return system_failure("cannot wait for signals");
  return out;
}

}  // namespace

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
  // A part of a file has no descriptor of its own.
  if (fstat(layers_.front().facts.descriptor, &image_file_) != 0 && stat(top.c_str(), &image_file_) != 0) {
    image_file_ = {};
  }
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
  if (const auto started = image_->start(); !started) log_line(LogLevel::warning, started.error().message());
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
  auto served = slots_->run([this] { return grace(); });
  const bool dead = served && !slots_->was_stopped() && session_->left_dead_mount();
  // Before the attendant is joined: it may wait for an answer of the file system.
  if (slots_->left_waiting() == 0) {
    session_->end();
  } else {
    session_->leave();
  }
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

Grace Service::grace() const {
  // A flush is not in vain: it may have much to write to a slow disk.
  return Grace(kGrace, [this] { return image_->activity().flushing != 0; });
}

void Service::leave_who_waits(const control::StreamJob::Outcome& streamed) {
  const auto requests = slots_->left_waiting();
  const bool looks = !survey_.wait_until_idle(kLookPatience) || !picture_.wait_until_idle(kLookPatience);
  if (requests == 0 && !streamed.waits && !looks) return;
  TimedCall<Result<>> flush;
  const auto flushed = flush([this] { return image_->flush(); }, kGrace);
  std::string who = requests == 0 ? "" : concat(requests, requests == 1 ? " request" : " requests");
  if (streamed.waits) who += who.empty() ? "the streaming job" : " and the streaming job";
  if (who.empty()) who = "a look at the layers";
  std::string what = "all that was written is flushed";
  if (!flushed) what = "what was not synced may be lost";
  if (flushed && !*flushed) what = concat("flushing failed: ", (*flushed).error().message());
  const Error problem(ETIMEDOUT, concat(printable(layers_.front().path), ": ended without being closed: ", who,
                                        " waited in vain for a layer that does not answer; ", what));
  log_line(LogLevel::error, problem.message());
  control_->finish(Failure(problem));
  if (options_.on_left_waiting) options_.on_left_waiting();
  _exit(EXIT_FAILURE);
}

Result<> Service::run(const Ready& ready) {
  auto outcome = serve_until_unmounted(ready);
  if (options_.on_unmounted) options_.on_unmounted();
  // Before the image is closed: the job's threads use it.
  const auto streamed = stream_->end(grace());
  leave_who_waits(streamed);
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

Result<> serve(std::unique_ptr<Image> image, const ServeOptions& options, Unmounter& unmounter, const Ready& ready) {
  wait_for_memory();
  auto layers = TRY(image->layers());
  if (layers.empty()) return fail(EINVAL, concat(image->name(), ": has no layer"));
  TRY(check_not_a_layer(options.mountpoint, layers));
  for (LayerInfo& layer : layers) {
    layer.path = real_path(layer.path).value_or(layer.path);
    layer.layer.reset();  // kept here it would stay open, with its lock, when it was dropped or the image closed
  }
  auto signals = TRY(catch_signals());
  // One heap for all threads: tables of the caches are given back and taken by whichever thread, and a heap of each
  // thread's own would keep its peak for ever. Requests allocate small blocks alone, which the threads keep by them.
  mallopt(M_ARENA_MAX, 1);
  Service service(std::move(image), options, unmounter, std::move(layers), std::move(signals));
  TRY(service.start());
  return service.run(ready);
}

}  // namespace penstock::fuse
