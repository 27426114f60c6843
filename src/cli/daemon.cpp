// SPDX-License-Identifier: Apache-2.0
#include "cli/daemon.hpp"

#include "cli/attach_place.hpp"
#include "cli/loop_device.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <utility>

namespace penstock::cli {

namespace {

/// The name of every mount's streaming job, and of the device that it is for, in QMP.
constexpr const char* kJobDevice = "disk0";

}  // namespace

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

Result<Json> Daemon::query(const std::string& command) {
  return execute(command, Json::object());
}

Result<StatusFacts> Daemon::status() {
  const Json answer = TRY(query("query-penstock"));
  auto facts = status_facts(answer);
  if (!facts) return Failure(facts.error().in(mountpoint_));
  return facts;
}

Result<std::string> Daemon::cells(unsigned count) {
  const Json answer = TRY(execute("query-penstock-cells", {{"cells", count}}));
  const auto cells = answer.find("cells");
  return cells != answer.end() && cells->is_string() ? cells->get<std::string>() : std::string();
}

Result<std::optional<JobFacts>> Daemon::job_facts() {
  const auto answer = client_.execute("query-penstock-stream");
  // A daemon of an older program tells everything or nothing.
  if (!answer) return TRY(status()).job;
  auto facts = cli::job_facts(*answer);
  if (!facts) return Failure(facts.error().in(mountpoint_));
  return facts;
}

Result<> Daemon::start_job(const JobWish& wish) {
  Json arguments = {{"device", kJobDevice}};
  if (wish.speed) arguments["speed"] = *wish.speed;
  if (!wish.base.empty()) arguments["base"] = wish.base;
  if (!wish.on_error.empty()) arguments["on-error"] = wish.on_error;
  TRY(execute("block-stream", arguments));
  return {};
}

Result<> Daemon::pause_job() {
  TRY(execute("block-job-pause", {{"device", kJobDevice}}));
  return {};
}

Result<> Daemon::resume_job() {
  TRY(execute("block-job-resume", {{"device", kJobDevice}}));
  return {};
}

Result<> Daemon::cancel_job() {
  TRY(execute("block-job-cancel", {{"device", kJobDevice}}));
  return {};
}

Result<> Daemon::set_job_speed(std::uint64_t speed) {
  TRY(execute("block-job-set-speed", {{"device", kJobDevice}, {"speed", speed}}));
  return {};
}

Result<Ending> Daemon::quit() {
  return ending_of(TRY(query("quit")));
}

}  // namespace penstock::cli
