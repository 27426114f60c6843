// SPDX-License-Identifier: Apache-2.0
// What a mounted image answers to control commands. Source: penstock-control(7).
#include "fuse/service_impl.hpp"

#include "base/text.hpp"
#include "fuse/disk_picture.hpp"
#include "fuse/report.hpp"

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <chrono>

namespace penstock::fuse {

namespace {

/// Of what query-penstock and query-penstock-histogram answer: the next number when a member goes or changes its
/// meaning. Source: share/status.schema.json.
constexpr int kStatusVersion = 1;

}  // namespace

Result<std::vector<LayerInfo>> Service::layers() {
  auto now = TRY(image_->layers());
  for (std::size_t i = 0; i + 1 < now.size(); ++i) now[i].backing_path = now[i + 1].path;
  return now;
}

Result<Json> Service::status() {
  const auto layers = TRY(this->layers());
  const auto activity = image_->activity();
  auto guest = view_->statistics().describe();
  // Damage, or a backing file that is gone or does not answer, must not hide how the job is doing.
  using Survey = Result<std::shared_ptr<const Json>>;
  const auto survey = [this]() -> Survey { return std::make_shared<const Json>(TRY(describe_provisioned(*image_))); };
  const auto provisioned = survey_(survey, kLookPatience);
  guest["in-flight"] = activity.in_flight;
  return Json{{"version", kStatusVersion},
              {"program", concat("penstock ", options_.version)},
              {"image", system_->attributes.at("user.penstock.image")},
              {"format", layers.front().format},
              {"map", layers.front().capabilities.must_fill},
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
              {"provisioned", provisioned && *provisioned ? ***provisioned : Json()},
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
  const auto count = wanted->get<std::uint32_t>();
  const auto drawn = picture_(
      [this, count, copying_at] { return draw_cells(*image_, view_->statistics(), count, copying_at); }, kLookPatience);
  if (!drawn) return fail(ETIMEDOUT, "a layer does not answer");
  return Json{{"cells", TRY(*drawn)}};
}

Json Service::describe(const control::StreamJob::Outcome& outcome) const {
  const auto& layer = layers_.front();
  const auto image = printable(layer.path);
  if (outcome.complete) {
    const bool whole = !outcome.on_base;
    auto message = concat(image, whole ? ": provisioned and finalised; it needs no backing file any more"
                                       : ": provisioned; it now stands on its new backing file");
    if (whole && layer.capabilities.must_fill) message += ", and its raw file can be used alone";
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

}  // namespace penstock::fuse
