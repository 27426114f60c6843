// SPDX-License-Identifier: Apache-2.0
#include "cli/request_facts.hpp"

#include "cli/duration.hpp"
#include "cli/human.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>

namespace penstock::cli {

namespace {

std::uint64_t whole(const Json& value) {
  // A fraction, or more than fits, is of another kind: get_ref() says so.
  return value.is_number_float() ? value.get_ref<const Json::number_unsigned_t&>() : value.get<std::uint64_t>();
}

RequestFacts take_apart(const std::string& kind, const Json& one) {
  RequestFacts out{.kind = printable(kind),
                   .requests = whole(one.at("requests")),
                   .bytes = whole(one.at("bytes")),
                   .errors = whole(one.at("errors")),
                   .nanoseconds = whole(one.at("nanoseconds")),
                   .max = whole(one.at("max")),
                   .steps = {}};
  for (const Json& step : one.at("latency")) {
    out.steps.push_back({whole(step.at(0)), whole(step.at(1))});
  }
  return out;
}

/// A bar without its empty part.
std::string bar(std::uint64_t count, std::uint64_t most, unsigned columns, bool unicode) {
  const auto full =
      most == 0 ? 0 : static_cast<unsigned>(static_cast<double>(count) / static_cast<double>(most) * columns);
  std::string out;
  // What is there is seen, however little it is.
  for (unsigned at = 0; at < std::max(full, count == 0 ? 0U : 1U); ++at) out += unicode ? "█" : "#";
  return out;
}

std::string describe_kind(const RequestFacts& facts, unsigned columns, bool unicode) {
  std::string out = concat(facts.kind, ": ", facts.requests, facts.requests == 1 ? " request, " : " requests, ",
                           human_size(facts.bytes), ", ", facts.errors, facts.errors == 1 ? " error" : " errors");
  if (facts.requests == 0) return out + '\n';
  out += concat(", mean ", human_latency(facts.nanoseconds / facts.requests), ", p50 ",
                human_latency(facts.percentile(0.5)), ", p90 ", human_latency(facts.percentile(0.9)), ", p99 ",
                human_latency(facts.percentile(0.99)), ", max ", human_latency(facts.max), '\n');
  const auto steps = facts.by_powers();
  std::uint64_t most = 0;
  for (const auto& step : steps) most = std::max(most, step.count);
  constexpr unsigned kNumbers = 40;
  const unsigned room = columns > kNumbers + 10 ? columns - kNumbers : 10;
  for (const auto& step : steps) {
    out += printf_text("  < %8s %12llu %5.1f %%  %s\n", human_latency(step.below + 1).c_str(),
                       static_cast<unsigned long long>(step.count),
                       100 * static_cast<double>(step.count) / static_cast<double>(facts.requests),
                       bar(step.count, most, room, unicode).c_str());
  }
  return out;
}

}  // namespace

std::uint64_t RequestFacts::percentile(double part) const {
  std::uint64_t all = 0;
  for (const auto& step : steps) all += step.count;
  const auto wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(part * static_cast<double>(all) + 0.5));
  std::uint64_t seen = 0;
  for (const auto& step : steps) {
    seen += step.count;
    if (seen >= wanted) return std::min(step.below, max);
  }
  return all == 0 ? 0 : max;
}

std::vector<LatencyStep> RequestFacts::by_powers(std::uint64_t least) const {
  std::vector<LatencyStep> out;
  for (const auto& step : steps) {
    const auto power = std::bit_floor(step.below);
    const auto below = power > UINT64_MAX / 2 ? UINT64_MAX : std::max(least, power * 2) - 1;
    while (!out.empty() && out.back().below < below) out.push_back({out.back().below * 2 + 1, 0});
    if (out.empty()) out.push_back({below, 0});
    out.back().count += step.count;
  }
  return out;
}

Result<std::vector<RequestFacts>> request_facts(const Json& answer) {
  try {
    std::vector<RequestFacts> out;
    for (const auto& [kind, one] : answer.at("requests").items()) out.push_back(take_apart(kind, one));
    return out;
  } catch (const Json::exception& problem) {
    return fail(EPROTO, concat("the daemon's answer cannot be understood: ", printable(problem.what())));
  }
}

Json to_json(const std::vector<RequestFacts>& kinds) {
  Json out = Json::object();
  for (const auto& facts : kinds) {
    Json steps = Json::array();
    for (const auto& step : facts.steps) steps.push_back({step.below, step.count});
    out[facts.kind] = {{"requests", facts.requests},       {"bytes", facts.bytes}, {"errors", facts.errors},
                       {"nanoseconds", facts.nanoseconds}, {"max", facts.max},     {"latency", std::move(steps)}};
  }
  return out;
}

std::string describe_latencies(const std::vector<RequestFacts>& kinds, unsigned columns, bool unicode) {
  std::string out;
  for (const auto& facts : kinds) out += describe_kind(facts, columns, unicode);
  return out;
}

}  // namespace penstock::cli
