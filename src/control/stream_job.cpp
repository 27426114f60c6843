// SPDX-License-Identifier: Apache-2.0
#include "control/stream_job.hpp"

#include "base/log.hpp"
#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <thread>

namespace penstock::control {

namespace {

/// QEMU's words for job states.
std::string_view job_status(ProvisionState state) {
  switch (state) {
    case ProvisionState::idle:
      return "created";
    case ProvisionState::paused:
      return "paused";
    case ProvisionState::finishing:
      return "pending";
    case ProvisionState::running:
    case ProvisionState::waiting:
      return "running";
    case ProvisionState::done:
    case ProvisionState::cancelled:
    case ProvisionState::failed:
      break;
  }
  return "concluded";
}

std::string_view io_status(const Progress& progress) {
  if (!progress.error || progress.state == ProvisionState::running) return "ok";
  return means_no_room(*progress.error) ? "nospace" : "failed";
}

Result<std::uint64_t> speed_of(const Json& arguments) {
  const auto speed = arguments.find("speed");
  if (speed == arguments.end()) return 0;
  if (!speed->is_number_integer() || (!speed->is_number_unsigned() && *speed < 0)) {
    return fail(EINVAL, "Parameter 'speed' expects a non-negative value");
  }
  const auto value = speed->get<std::uint64_t>();
  if (value > INT64_MAX) return fail(EINVAL, "Parameter 'speed' is too large");
  return value;
}

Result<std::string> text_of(const Json& arguments, const char* key) {
  const auto found = arguments.find(key);
  if (found == arguments.end()) return std::string();
  if (!found->is_string()) return fail(EINVAL, concat("Invalid parameter type for '", key, "', expected: string"));
  return found->get<std::string>();
}

Result<> only(const Json& arguments, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : arguments.items()) {
    if (std::ranges::find(known, key) == known.end())
      return fail(EINVAL, concat("Parameter '", key, "' is unexpected"));
  }
  return {};
}

/// QEMU's policies beside ours: its `ignore` goes on after an error and fails at the end, which trying again covers.
Result<OnError> policy_of(const Json& arguments) {
  const auto word = TRY(text_of(arguments, "on-error"));
  if (word.empty() || word == "report" || word == "auto") return OnError::report;
  if (word == "stop" || word == "enospc") return OnError::stop;
  if (word == "retry" || word == "ignore") return OnError::retry;
  return fail(EINVAL, concat("Parameter 'on-error' does not accept value '", printable(word), "'"));
}

/// How long a command waits for the end of a job that was cancelled before.
constexpr std::chrono::milliseconds kLastStepPatience{500};

/// How long it waits for file systems that are asked whether two names are of one file.
constexpr std::chrono::milliseconds kSearchPatience{500};

}  // namespace

Json describe(const Progress& progress) {
  Json out = {{"state", to_string(progress.state)},
              {"length", progress.length},
              {"offset", progress.offset},
              {"copied", progress.populated.copied},
              {"zeroed", progress.populated.zeroed},
              {"left", progress.populated.left},
              {"speed", progress.bytes_per_second_max},
              {"rate", static_cast<std::uint64_t>(progress.bytes_per_second)},
              {"disk-rate", static_cast<std::uint64_t>(progress.disk_bytes_per_second)},
              {"errors", progress.errors},
              {"no-space", progress.no_space}};
  if (progress.error) out["error"] = progress.error->message();
  return out;
}

StreamJob::StreamJob(Image& image, Server& server) : image_(image), server_(server) {
  add_commands();
}

StreamJob::~StreamJob() = default;

Result<std::shared_ptr<const Layer>> StreamJob::layer_of(const std::string& base) {
  if (base.empty()) return nullptr;
  const auto layers = TRY(image_.layers());
  for (std::size_t i = 1; i < layers.size(); ++i) {
    if (layers[i].path == base || layers[i - 1].backing.name == base) return layers[i].layer;
  }
  // By another name of its file, which the file system is asked for: it may be one that does not answer.
  const auto identity =
      search_([base]() -> Result<std::string> { return identify_storage(TRY(parse_name(base))); }, kSearchPatience);
  if (!identity)
    return fail(ETIMEDOUT, concat("'", printable(base), "': a layer does not answer; name it as status does"));
  for (std::size_t i = 1; *identity && i < layers.size(); ++i) {
    if (layers[i].facts.identity == **identity) return layers[i].layer;
  }
  return fail(EINVAL, concat("Can't find '", printable(base), "' in the backing chain"));
}

bool StreamJob::is_active() const {
  return provisioner_ != nullptr && !has_ended(provisioner_->progress().state);
}

Result<> StreamJob::start(const StreamRequest& request) {
  if (is_active())
    return fail(EBUSY, concat("Node '", kDevice, "' is busy: block device is in use by block job: stream"));
  if (!image_.writable()) return fail(EROFS, concat("Block node '", kDevice, "' is read-only"));
  const auto base = TRY(layer_of(request.base));
  TRY(check_no_snapshots());
  if (provisioner_ != nullptr &&
      (!provisioner_->wait_for_end(kLastStepPatience) || !left_->wait_until_idle(kLastStepPatience))) {
    return fail(EBUSY, "the last job's threads still wait for a layer that does not answer");
  }
  provisioner_.reset();
  id_ = request.id.empty() ? std::string(kDevice) : request.id;
  if (!background_) {
    background_ = make_background_executor(std::clamp(std::thread::hardware_concurrency(), 1U, 4U));
  }
  if (request.base.empty() && image_.layer_count() > 1) {
    auto start = image_.auto_start();
    if (!start.stream) {
      start.stream = true;
      const auto kept = image_.set_auto_start(start);
      if (!kept) log_line(LogLevel::warning, concat(kept.error().message(), "; the next mount must be told to stream"));
    }
  }
  request_ = request;
  provisioner_ = std::make_unique<Provisioner>(
      image_, *background_, system_clock(),
      ProvisionOptions{.bytes_per_second = request.bytes_per_second, .base = base, .on_error = request.on_error},
      [this](const Progress& progress) { on_change(progress); });
  post_status("created");
  left_ = std::make_unique<LeftToCopy>(image_, base, system_clock());
  provisioner_->start();
  return {};
}

/// Told at once, not when all is copied.
Result<> StreamJob::check_no_snapshots() const {
  const auto layers = TRY(image_.layers());
  if (layers.size() == 1 || layers.front().details.snapshots.empty()) return {};
  return fail(ENOTSUP,
              "the image has internal snapshots, which would lose their backing file; delete them first "
              "('qemu-img snapshot -d')");
}

StreamJob::Outcome StreamJob::end(Grace grace) {
  constexpr std::chrono::milliseconds kBetweenLooks{50};
  Outcome outcome;
  if (provisioner_ != nullptr) {
    provisioner_->cancel();  // without effect on one that is finishing
    while (!provisioner_->wait_for_end(kBetweenLooks) || !left_->wait_until_idle(kBetweenLooks)) {
      outcome.waits = grace.is_over();
      if (outcome.waits) break;
    }
    const auto progress = provisioner_->progress();
    outcome.incomplete = progress.state != ProvisionState::done;
    // An estimate may have missed what is left.
    outcome.percent = outcome.incomplete ? std::min(percent(progress), 99U) : 100;
    if (!outcome.waits) {
      // Both keep the base open.
      provisioner_.reset();
      left_.reset();
    }
  }
  if (!search_.wait_until_idle(kBetweenLooks)) outcome.waits = true;
  outcome.complete = finalised_;
  outcome.on_base = !request_.base.empty();
  if (outcome.complete) outcome.incomplete = false;
  outcome.remembered = image_.auto_start().stream;
  return outcome;
}

unsigned StreamJob::percent(const Progress& progress) const {
  if (const auto amounts = left_->after(progress)) return percent_of(*amounts);
  return progress.length == 0 ? 100 : static_cast<unsigned>(progress.offset / (progress.length / 100 + 1));
}

Json StreamJob::describe() const {
  if (provisioner_ == nullptr) return nullptr;
  const auto progress = provisioner_->progress();
  auto out = control::describe(progress);
  if (const auto amounts = left_->after(progress)) {
    out["data"] = amounts->data;
    // The layers that were to go have gone: what is left came after the end of the disk, or is below the base.
    out["to-copy"] = progress.state == ProvisionState::done ? 0 : amounts->to_copy;
    out["estimated"] = amounts->estimated;
  }
  if (!request_.base.empty()) out["base"] = request_.base;
  return out;
}

Json StreamJob::block_job() const {
  const auto progress = provisioner_->progress();
  Json out = {{"type", "stream"},
              {"device", id_},
              {"len", progress.length},
              {"offset", progress.offset},
              {"busy", progress.state == ProvisionState::running},
              {"paused", progress.state == ProvisionState::paused},
              {"speed", progress.bytes_per_second_max},
              {"io-status", io_status(progress)},
              {"ready", false},
              {"status", job_status(progress.state)},
              {"auto-finalize", true},
              {"auto-dismiss", true}};
  if (progress.error) out["error"] = progress.error->message();
  return out;
}

Result<Provisioner*> StreamJob::active(const Json& arguments) {
  const auto device = TRY(text_of(arguments, "device"));
  const auto name = device.empty() ? TRY(text_of(arguments, "id")) : device;
  if (name.empty()) return fail(EINVAL, "Parameter 'device' is missing");
  if ((name != id_ && name != kDevice) || !is_active())
    return fail(ENXIO, concat("Block job '", printable(name), "' not found"));
  return provisioner_.get();
}

void StreamJob::add_commands() {
  server_.on_command("block-stream", [this](const Json& arguments) -> Result<Json> {
    TRY(only(arguments,
             {"job-id", "device", "base", "base-node", "speed", "on-error", "auto-finalize", "auto-dismiss"}));
    for (const char* key : {"auto-finalize", "auto-dismiss"}) {
      if (arguments.contains(key) && arguments[key] != true) {
        return fail(ENOTSUP, concat("Parameter '", key, "' can only be true"));
      }
    }
    const auto device = TRY(text_of(arguments, "device"));
    if (device.empty()) return fail(EINVAL, "Parameter 'device' is missing");
    if (device != kDevice && device != "layer0") {
      return fail(EINVAL,
                  concat("Cannot find device='", printable(device), "' nor node-name='", printable(device), "'"));
    }
    StreamRequest request{.bytes_per_second = TRY(speed_of(arguments)),
                          .base = TRY(text_of(arguments, "base")),
                          .id = TRY(text_of(arguments, "job-id")),
                          .on_error = TRY(policy_of(arguments))};
    const auto node = TRY(text_of(arguments, "base-node"));
    if (!node.empty()) {
      if (!request.base.empty()) return fail(EINVAL, "'base' and 'base-node' cannot be specified at the same time");
      const auto layers = TRY(image_.layers());
      for (std::size_t i = 1; i < layers.size(); ++i) {
        if (node == concat("layer", i)) request.base = layers[i].path;
      }
      if (request.base.empty()) return fail(EINVAL, concat("Cannot find node-name='", printable(node), "'"));
    }
    TRY(start(request));
    return Json::object();
  });
  server_.on_command("block-job-set-speed", [this](const Json& arguments) -> Result<Json> {
    TRY(only(arguments, {"device", "speed"}));
    if (!arguments.contains("speed")) return fail(EINVAL, "Parameter 'speed' is missing");
    const auto speed = TRY(speed_of(arguments));
    TRY(active(arguments))->set_speed(speed);
    return Json::object();
  });
  const auto cancel = [this](const Json& arguments) -> Result<Json> {
    TRY(only(arguments, {"device", "id", "force"}));
    auto* const job = TRY(active(arguments));
    // Told to end: the next mount is not to begin again.
    auto start = image_.auto_start();
    if (start.stream) {
      start.stream = false;
      TRY(image_.set_auto_start(start));
    }
    job->cancel();
    return Json::object();
  };
  const auto pause = [this](const Json& arguments) -> Result<Json> {
    TRY(only(arguments, {"device", "id"}));
    auto* const job = TRY(active(arguments));
    if (job->progress().state == ProvisionState::paused) return fail(EINVAL, "Job already paused");
    job->pause();
    return Json::object();
  };
  const auto resume = [this](const Json& arguments) -> Result<Json> {
    TRY(only(arguments, {"device", "id"}));
    auto* const job = TRY(active(arguments));
    const auto state = job->progress().state;
    if (state != ProvisionState::paused && state != ProvisionState::waiting) {
      return fail(EINVAL, "Can't resume a job that was not paused");
    }
    job->resume();
    return Json::object();
  };
  for (const char* prefix : {"block-job-", "job-"}) {
    server_.on_command(concat(prefix, "cancel"), cancel);
    server_.on_command(concat(prefix, "pause"), pause);
    server_.on_command(concat(prefix, "resume"), resume);
  }
  server_.on_command("query-block-jobs", [this](const Json&) -> Result<Json> {
    auto out = Json::array();
    if (is_active()) out.push_back(block_job());
    return out;
  });
  server_.on_command("query-jobs", [this](const Json&) -> Result<Json> {
    auto out = Json::array();
    if (!is_active()) return out;
    const auto progress = provisioner_->progress();
    Json job = {{"id", id_},
                {"type", "stream"},
                {"status", job_status(progress.state)},
                {"current-progress", progress.offset},
                {"total-progress", progress.length}};
    if (progress.error) job["error"] = progress.error->message();
    out.push_back(std::move(job));
    return out;
  });
}

void StreamJob::post(std::string_view event, Json data) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now);
  server_.post({{"timestamp",
                 {{"seconds", seconds.count()},
                  {"microseconds", std::chrono::duration_cast<std::chrono::microseconds>(now - seconds).count()}}},
                {"event", event},
                {"data", std::move(data)}});
}

void StreamJob::post_status(std::string_view status) {
  post("JOB_STATUS_CHANGE", {{"status", status}, {"id", id_}});
}

void StreamJob::on_change(const Progress& progress) {
  const auto ended = [&](std::string_view event, bool with_error) {
    Json data = {{"device", id_},
                 {"len", progress.length},
                 {"offset", progress.offset},
                 {"speed", progress.bytes_per_second_max},
                 {"type", "stream"}};
    if (with_error && progress.error) data["error"] = progress.error->message();
    post(event, std::move(data));
    post_status("concluded");
    post_status("null");
  };
  const auto error = [&](std::string_view action) {
    const bool no_space = progress.error && means_no_room(*progress.error);
    post("BLOCK_JOB_ERROR", {{"device", id_}, {"operation", no_space ? "write" : "read"}, {"action", action}});
    if (progress.error) log_limited(LogLevel::warning, concat("streaming: ", progress.error->message()));
  };
  switch (progress.state) {
    case ProvisionState::idle:
      break;
    case ProvisionState::running:
      post_status("running");
      break;
    case ProvisionState::waiting:
      error(progress.no_space ? "stop" : "ignore");
      break;
    case ProvisionState::paused:
      if (progress.error && request_.on_error == OnError::stop) error("stop");
      post_status("paused");
      break;
    case ProvisionState::finishing:
      post_status("waiting");
      post_status("pending");
      break;
    case ProvisionState::done:
      finalised_ = true;
      log_line(LogLevel::info, concat(printable(image_.name()), ": streaming is done"));
      ended("BLOCK_JOB_COMPLETED", false);
      break;
    case ProvisionState::cancelled:
      post_status("aborting");
      log_line(LogLevel::info, concat(printable(image_.name()), ": streaming was cancelled"));
      ended("BLOCK_JOB_CANCELLED", false);
      break;
    case ProvisionState::failed:
      error("report");
      post_status("aborting");
      ended("BLOCK_JOB_COMPLETED", true);
      break;
  }
}

}  // namespace penstock::control
