// SPDX-License-Identifier: Apache-2.0
#include "cli/umount_steps.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

namespace penstock::cli {

FirstStep first_step(const StatusFacts& facts) {
  if (facts.job && !facts.job->ended()) return facts.job->state == "paused" ? FirstStep::resume : FirstStep::wait;
  // A job that is done may have kept a base on purpose.
  const bool nothing_to_copy = facts.read_only || facts.layers.size() < 2 || (facts.job && facts.job->state == "done");
  return nothing_to_copy ? FirstStep::none : FirstStep::start;
}

std::string why_map_stays(const StatusFacts& facts, bool waits) {
  if (!facts.map) return concat("--discard-map is for add-cow images, this is ", facts.format);
  if (facts.read_only) return "mounted read-only: the add-cow file stays";
  const bool completed = facts.finalised && facts.job && facts.job->state == "done";
  if (completed || (waits && first_step(facts) != FirstStep::none && (!facts.job || facts.job->base.empty())))
    return {};
  return waits ? "the raw file is not completed by this mount: the add-cow file stays"
               : "the raw file is not complete: the add-cow file is needed (--wait completes it first)";
}

Result<Ending> ending_of(const Json& answer) {
  const auto text = [&](const char* key) -> std::string {
    const auto found = answer.find(key);
    return found == answer.end() || !found->is_string() ? "" : printable(found->get<std::string>());
  };
  if (!answer.is_object()) return fail(EPROTO, "the daemon's answer is no JSON object");
  return Ending{.outcome = text("outcome"), .message = text("message")};
}

}  // namespace penstock::cli
