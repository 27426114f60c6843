// SPDX-License-Identifier: Apache-2.0
/// penstock status: what the daemon of a mounted image says about itself.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/daemon.hpp"
#include "cli/duration.hpp"
#include "cli/human.hpp"
#include "cli/request_facts.hpp"
#include "cli/status_metrics.hpp"
#include "cli/status_report.hpp"
#include "cli/terminal.hpp"
#include "cli/watch.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <memory>

namespace penstock::cli {

namespace {

struct Flags {
  std::string mountpoint;
  bool json = false;
  bool prometheus = false;
  bool histogram = false;
  bool watch = false;
  std::string interval;
};

Result<std::string> answer_of(Daemon& daemon, const Flags& flags) {
  const auto named = [&daemon](auto result) -> decltype(result) {
    if (!result) return Failure(result.error().in(daemon.mountpoint()));
    return result;
  };
  if (flags.histogram) {
    const Json answer = TRY(daemon.query("query-penstock-histogram"));
    if (flags.json) return json_text(answer);
    const unsigned columns = terminal_size(STDOUT_FILENO).columns;
    return describe_latencies(TRY(named(request_facts(answer))), columns, utf8_locale());
  }
  const Json status = TRY(daemon.query("query-penstock"));
  if (flags.prometheus) {
    const Json requests = TRY(daemon.query("query-penstock-histogram"));
    return named(metrics_text(status, TRY(named(request_facts(requests)))));
  }
  if (flags.json) return json_text(status);
  return describe(TRY(named(status_facts(status))));
}

int run_status(const Flags& flags) {
  std::chrono::milliseconds interval{1000};
  if (!flags.interval.empty()) {
    const auto time = parse_duration(flags.interval);
    if (!time) return usage_error("status", concat("--interval: ", time.error().message()));
    if (time->count() < 100) return usage_error("status", "--interval: a tenth of a second is the shortest");
    interval = *time;
  }
  auto daemon = Daemon::reach(flags.mountpoint);
  if (!daemon) return report(daemon.error());
  if (flags.watch) {
    const auto watched = watch(*daemon, interval);
    return watched ? kSuccess : report(watched.error());
  }
  const auto text = answer_of(*daemon, flags);
  if (!text) return report(text.error());
  print(*text);
  return finish_output(kSuccess);
}

}  // namespace

Command status_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "status",
          .help = "Show what a mounted image is made of and how it is served",
          .options =
              {
                  {"--json", "", &flags->json, "Print JSON"},
                  {"--watch",
                   "",
                   &flags->watch,
                   "Keep showing it, with a picture of the disk, until q is pressed",
                   {.excludes = {"--json"}}},
                  {"--histogram",
                   "",
                   &flags->histogram,
                   "Print how long requests took, by kind; with --json, as JSON",
                   {.excludes = {"--watch"}}},
                  {"--prometheus",
                   "",
                   &flags->prometheus,
                   "Print metrics in Prometheus' text format",
                   {.excludes = {"--json", "--watch", "--histogram"}}},
                  {"--interval",
                   "TIME",
                   &flags->interval,
                   "With --watch: redraw so often; each second unless given",
                   {.needs = "--watch"}},
                  {"mountpoint", "MOUNTPOINT", &flags->mountpoint, "Where the image is mounted", {.required = true}},
              },
          .run = runs(run_status, flags)};
}

}  // namespace penstock::cli
