// SPDX-License-Identifier: Apache-2.0
#include "cli/daemon.hpp"

#include "cli/attach_place.hpp"
#include "cli/loop_device.hpp"

#include "base/text.hpp"

#include <utility>

namespace penstock::cli {

Result<Daemon> Daemon::reach(const std::string& place) {
  // A loop device stands for the view that it was attached to.
  const auto loop = loop_name(place);
  const std::string mountpoint = loop ? backing_file(*loop).value_or(place) : view_of(place);
  const std::string socket = TRY(control::find_control_socket(mountpoint));
  auto client = control::Client::connect(socket);
  if (!client) return Failure(client.error().in(concat(mountpoint, ": cannot reach the daemon")));
  return Daemon(mountpoint, *std::move(client));
}

Result<Json> Daemon::execute(const std::string& command, const Json& arguments) {
  auto answer = client_.execute(command, arguments);
  if (!answer) return Failure(answer.error().in(mountpoint_));
  return answer;
}

Result<StatusFacts> Daemon::status() {
  const Json answer = TRY(execute("query-penstock"));
  auto facts = status_facts(answer);
  if (!facts) return Failure(facts.error().in(mountpoint_));
  return facts;
}

Result<std::optional<JobFacts>> Daemon::job_facts() {
  const auto answer = client_.execute("query-penstock-stream", Json::object());
  // A daemon of an older program tells everything or nothing.
  if (!answer) return TRY(status()).job;
  auto facts = cli::job_facts(*answer);
  if (!facts) return Failure(facts.error().in(mountpoint_));
  return facts;
}

Result<> Daemon::job(const std::string& command, Json arguments) {
  arguments["device"] = kJobDevice;
  TRY(execute(command, arguments));
  return {};
}

}  // namespace penstock::cli
