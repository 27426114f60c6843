// SPDX-License-Identifier: Apache-2.0
#include "cli/status_facts.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string_view>

namespace penstock::cli {

namespace {

std::uint64_t number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return 0;
  // A fraction, or more than fits, is of another kind: get_ref() says so.
  return found->is_number_float() ? found->get_ref<const Json::number_unsigned_t&>() : found->get<std::uint64_t>();
}

double real(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? 0 : std::max(found->get<double>(), 0.0);
}

bool yes(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && !found->is_null() && found->get<bool>();
}

/// Terminals take the characters U+0080 to U+009F for control characters too.
std::string without_c1(std::string text) {
  for (std::size_t at = 0; at + 1 < text.size(); ++at) {
    const auto next = static_cast<unsigned char>(text[at + 1]);
    if (text[at] == '\xc2' && next >= 0x80 && next < 0xa0) text.replace(at, 2, "?");
  }
  return text;
}

std::string words(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? "" : without_c1(printable(found->get<std::string>()));
}

/// The object below `key`; null where there is none.
const Json* part(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || !found->is_object() ? nullptr : &*found;
}

JobFacts job_of(const Json& stream) {
  // A daemon of an older program tells the place on the disk alone.
  const bool counted = stream.contains("to-copy");
  return {.state = words(stream, "state"),
          .length = number(stream, "length"),
          .offset = number(stream, "offset"),
          .copied = number(stream, "copied"),
          .zeroed = number(stream, "zeroed"),
          .left = number(stream, "left"),
          .data = number(stream, counted ? "data" : "offset"),
          .to_copy = counted ? number(stream, "to-copy")
                             : number(stream, "length") - std::min(number(stream, "offset"), number(stream, "length")),
          .speed_max = number(stream, "speed"),
          .rate = real(stream, "rate"),
          .errors = number(stream, "errors"),
          .no_space = yes(stream, "no-space"),
          .error = words(stream, "error"),
          .base = words(stream, "base")};
}

LatencyFacts latency_facts(const Json* latency) {
  if (latency == nullptr) return {};
  return {.p50 = number(*latency, "p50"),
          .p90 = number(*latency, "p90"),
          .p99 = number(*latency, "p99"),
          .max = number(*latency, "max")};
}

GuestFacts guest_facts(const Json& guest) {
  return {.in_flight = number(guest, "in-flight"),
          .reads = number(guest, "reads"),
          .read_bytes = number(guest, "read-bytes"),
          .writes = number(guest, "writes"),
          .write_bytes = number(guest, "write-bytes"),
          .flushes = number(guest, "flushes"),
          .zeroes = number(guest, "zeroes"),
          .errors = number(guest, "errors"),
          .read_latency = latency_facts(part(guest, "read-latency-ns")),
          .write_latency = latency_facts(part(guest, "write-latency-ns"))};
}

StatusFacts take_apart(const Json& status) {
  StatusFacts facts{.image = words(status, "image"),
                    .format = words(status, "format"),
                    .map = yes(status, "map"),
                    .device = number(status, "device"),
                    .inode = number(status, "inode"),
                    .mountpoint = words(status, "mountpoint"),
                    .view = words(status, "view"),
                    .virtual_size = number(status, "virtual-size"),
                    .actual_size = number(status, "actual-size"),
                    .read_only = yes(status, "read-only"),
                    .resizable = yes(status, "resizable"),
                    .discard = words(status, "discard"),
                    .detect_zeroes = words(status, "detect-zeroes"),
                    .pid = number(status, "pid"),
                    .threads = number(status, "threads"),
                    .cache_bytes = number(status, "cache-bytes"),
                    .cache_bytes_max = number(status, "cache-bytes-max"),
                    .control = words(status, "control"),
                    .finalised = yes(status, "finalised")};
  const Json layers = status.value("layers", Json::array());
  for (const Json& layer : layers.get_ref<const Json::array_t&>()) {
    facts.layers.push_back({.filename = words(layer, "filename"),
                            .format = words(layer, "format"),
                            .virtual_size = number(layer, "virtual-size"),
                            .actual_size = number(layer, "actual-size")});
  }
  if (const Json* stream = part(status, "stream")) facts.job = job_of(*stream);
  if (const Json* guest = part(status, "guest")) facts.guest = guest_facts(*guest);
  if (const Json* amounts = part(status, "provisioned")) {
    facts.provisioned = ProvisionedFacts{.data = number(*amounts, "data"),
                                         .zero = number(*amounts, "zero"),
                                         .missing = number(*amounts, "missing"),
                                         .known_zero = number(*amounts, "known-zero"),
                                         .estimated = yes(*amounts, "estimated")};
  }
  if (const Json* copying = part(status, "copy-on-read")) {
    facts.copy_on_read = CopyOnReadFacts{.enabled = yes(*copying, "enabled"),
                                         .bytes = number(*copying, "bytes"),
                                         .failures = number(*copying, "failures")};
  }
  return facts;
}

}  // namespace

double JobFacts::seconds_left() const {
  if (state == "done") return 0;
  // With nothing to copy, there are zeroes to be passed, or what an estimate has missed.
  return rate > 0 && to_copy > 0 ? static_cast<double>(to_copy) / rate : -1;
}

std::string JobFacts::obstacle() const {
  if (no_space && !ended()) return "waiting for room on the host";
  if (state == "waiting") return "waiting to try again";
  return state == "running" || state == "done" ? "" : state;
}

namespace {

/// What `take` makes of an answer, whose values may be of other kinds than expected.
template <typename T>
Result<T> understood(T (*take)(const Json&), const Json& answer) {
  try {
    return take(answer);
  } catch (const Json::exception& problem) {
    return fail(EPROTO, concat("the daemon's answer cannot be understood: ", printable(problem.what())));
  }
}

}  // namespace

Result<StatusFacts> status_facts(const Json& status) {
  if (!status.is_object()) return fail(EPROTO, "the daemon's answer is no JSON object");
  return understood(take_apart, status);
}

Result<std::optional<JobFacts>> job_facts(const Json& stream) {
  if (!stream.is_object()) return std::optional<JobFacts>();
  return TRY(understood(job_of, stream));
}

}  // namespace penstock::cli
