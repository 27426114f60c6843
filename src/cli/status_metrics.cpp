// SPDX-License-Identifier: Apache-2.0
#include "cli/status_metrics.hpp"

#include "cli/human.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <string_view>
#include <utility>

namespace penstock::cli {

namespace {

using Labels = std::vector<std::pair<std::string_view, std::string>>;

/// Backslash, quote and line break; everything else is taken as it is, in UTF-8.
std::string escaped(std::string_view value) {
  // What a path has that is no UTF-8 would spoil the whole page for who reads it.
  const std::string text = Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::string valid = Json::parse(text).get<std::string>();
  std::string out;
  for (const char character : valid) {
    if (character == '\n') {
      out += "\\n";
      continue;
    }
    if (character == '\\' || character == '"') out += '\\';
    out += character;
  }
  return out;
}

class Page {
 public:
  explicit Page(std::string mountpoint) : mountpoint_(std::move(mountpoint)) {}

  void begin(std::string_view name, std::string_view type, std::string_view help) {
    name_ = concat("penstock_", name);
    text_ += concat("# HELP ", name_, ' ', help, "\n# TYPE ", name_, ' ', type, '\n');
  }
  void sample(const Labels& labels, const std::string& value, std::string_view suffix = {}) {
    text_ += concat(name_, suffix, "{mountpoint=\"", escaped(mountpoint_), '"');
    for (const auto& [label, content] : labels) text_ += concat(',', label, "=\"", escaped(content), '"');
    text_ += concat("} ", value, '\n');
  }
  void sample(const Labels& labels, std::uint64_t value, std::string_view suffix = {}) {
    sample(labels, concat(value), suffix);
  }
  void gauge(std::string_view name, std::string_view help, std::uint64_t value) {
    begin(name, "gauge", help);
    sample({}, value);
  }
  void counter(std::string_view name, std::string_view help, std::uint64_t value) {
    begin(name, "counter", help);
    sample({}, value);
  }
  std::string take() { return std::move(text_); }

 private:
  const std::string mountpoint_;
  std::string name_;
  std::string text_;
};

std::string seconds(std::uint64_t nanoseconds) {
  return printf_text("%.9g", static_cast<double>(nanoseconds) / 1e9);
}

void add_requests(Page& page, const std::vector<RequestFacts>& requests) {
  page.begin("requests_total", "counter", "Requests of the guest since the mount.");
  for (const auto& facts : requests) page.sample({{"kind", facts.kind}}, facts.requests);
  page.begin("request_errors_total", "counter", "Requests that failed.");
  for (const auto& facts : requests) page.sample({{"kind", facts.kind}}, facts.errors);
  page.begin("request_bytes_total", "counter", "Bytes that the guest has read, written and zeroed.");
  for (const auto& facts : requests) page.sample({{"kind", facts.kind}}, facts.bytes);
  page.begin("request_duration_seconds", "histogram", "How long requests took.");
  // From a microsecond to 17 seconds, the same bounds at each mount and at all times.
  constexpr unsigned kFirstPower = 10;
  constexpr unsigned kLastPower = 34;
  for (const auto& facts : requests) {
    std::uint64_t all = 0;
    std::size_t at = 0;
    for (unsigned power = kFirstPower; power <= kLastPower; ++power) {
      const auto bound = std::uint64_t{1} << power;
      while (at < facts.steps.size() && facts.steps[at].below < bound) all += facts.steps[at++].count;
      page.sample({{"kind", facts.kind}, {"le", seconds(bound)}}, all, "_bucket");
    }
    while (at < facts.steps.size()) all += facts.steps[at++].count;
    page.sample({{"kind", facts.kind}, {"le", "+Inf"}}, all, "_bucket");
    page.sample({{"kind", facts.kind}}, seconds(facts.nanoseconds), "_sum");
    page.sample({{"kind", facts.kind}}, all, "_count");
  }
}

void add_stream(Page& page, const JobFacts& job) {
  page.begin("stream_state", "gauge", "1 for the state that the streaming job is in.");
  for (const char* state : {"idle", "running", "waiting", "paused", "finishing", "done", "cancelled", "failed"}) {
    page.sample({{"state", state}}, job.state == state ? 1 : 0);
  }
  page.gauge("stream_length_bytes", "How much of the disk the streaming job is to pass.", job.length);
  page.gauge("stream_offset_bytes", "How much of it has been passed.", job.offset);
  page.gauge("stream_to_copy_bytes", "Data that it still has to copy.", job.to_copy);
  page.counter("stream_copied_bytes_total", "Bytes that the streaming job has copied.", job.copied);
  page.counter("stream_zeroed_bytes_total", "Bytes that it has stored as zeroes.", job.zeroed);
  page.gauge("stream_speed_limit_bytes", "Its limit in bytes a second; 0 is none.", job.speed_max);
  page.begin("stream_rate_bytes", "gauge", "Bytes a second that it copies now.");
  page.sample({}, printf_text("%.0f", job.rate));
  page.counter("stream_errors_total", "Errors that it has met.", job.errors);
}

}  // namespace

Result<std::string> metrics_text(const Json& status, const std::vector<RequestFacts>& requests) {
  const auto facts = TRY(status_facts(status));
  const auto text_in = [](const Json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() || !found->is_string() ? std::string() : found->get<std::string>();
  };
  const auto text = [&](const char* key) { return text_in(status, key); };
  const auto number = [&status](const char* key) {
    const auto found = status.find(key);
    return found == status.end() || !found->is_number_integer() ? std::uint64_t{0} : found->get<std::uint64_t>();
  };
  Page page(text("mountpoint"));
  page.begin("image_info", "gauge", "Which image this is; always 1.");
  page.sample(
      {{"image", text("image")}, {"format", text("format")}, {"view", text("view")}, {"program", text("program")}}, 1);
  page.gauge("start_time_seconds", "When it was mounted, in seconds since 1970.", number("mounted-at"));
  page.gauge("virtual_size_bytes", "Size of the disk.", facts.virtual_size);
  page.gauge("actual_size_bytes", "Room that the image takes on the host.", facts.actual_size);
  page.gauge("read_only", "Whether the mount is read-only.", facts.read_only ? 1 : 0);
  page.gauge("finalised", "Whether the image has lost its backing file since it was mounted.", facts.finalised ? 1 : 0);
  page.gauge("threads", "Requests that can be served at the same time.", facts.threads);
  page.gauge("cache_bytes", "Memory in use for metadata and unpacked clusters.", facts.cache_bytes);
  page.gauge("cache_limit_bytes", "What that may become.", facts.cache_bytes_max);
  page.begin("layer_actual_size_bytes", "gauge", "Room that each layer takes on the host; 0 is the top.");
  for (std::size_t at = 0; at < facts.layers.size(); ++at) {
    const Json& layer = status.at("layers").at(at);
    page.sample({{"layer", concat(at)}, {"file", text_in(layer, "filename")}, {"format", text_in(layer, "format")}},
                facts.layers[at].actual_size);
  }
  if (facts.guest) page.gauge("requests_in_flight", "Requests being served now.", facts.guest->in_flight);
  add_requests(page, requests);
  if (facts.copy_on_read) {
    page.counter("copy_on_read_bytes_total", "Bytes kept because the guest read them.", facts.copy_on_read->bytes);
    page.counter("copy_on_read_failures_total", "Reads whose data could not be kept.", facts.copy_on_read->failures);
  }
  if (facts.provisioned) {
    page.begin("provisioned_bytes", "gauge", "The disk by what the top layer has of it.");
    const auto& amounts = *facts.provisioned;
    const std::array<std::pair<const char*, std::uint64_t>, 4> parts{{{"data", amounts.data},
                                                                      {"zero", amounts.zero},
                                                                      {"missing", amounts.missing},
                                                                      {"known-zero", amounts.known_zero}}};
    for (const auto& [name, bytes] : parts) page.sample({{"part", name}}, bytes);
  }
  if (facts.job) add_stream(page, *facts.job);
  return page.take();
}

}  // namespace penstock::cli
