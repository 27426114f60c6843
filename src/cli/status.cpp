// SPDX-License-Identifier: Apache-2.0
/// penstock status: what the daemon of a mounted image says about itself.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/daemon.hpp"
#include "cli/duration.hpp"
#include "cli/human.hpp"
#include "cli/status_report.hpp"
#include "cli/watch.hpp"

#include "base/text.hpp"

#include <memory>

namespace penstock::cli {

namespace {

struct Flags {
  std::string mountpoint;
  bool json = false;
  bool watch = false;
  std::string interval;
};

Result<std::string> answer_of(Daemon& daemon, bool json) {
  const Json status = TRY(daemon.execute("query-penstock"));
  if (json) return json_text(status);
  const auto facts = status_facts(status);
  if (!facts) return Failure(facts.error().in(daemon.mountpoint()));
  return describe(*facts);
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
  const auto text = answer_of(*daemon, flags.json);
  if (!text) return report(text.error());
  print(*text);
  return finish_output(kSuccess);
}

}  // namespace

void add_status(CLI::App& app, Command& chosen) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("status", "Show what a mounted image is made of and how it is served");
  CLI::Option* json = command->add_flag("--json", flags->json, "Print JSON");
  CLI::Option* watching =
      command->add_flag("--watch", flags->watch, "Keep showing it, with a picture of the disk, until q is pressed")
          ->excludes(json);
  command->add_option("--interval", flags->interval, "With --watch: redraw so often; each second unless given")
      ->type_name("TIME")
      ->needs(watching);
  command->add_option("mountpoint", flags->mountpoint, "Where the image is mounted")
      ->type_name("MOUNTPOINT")
      ->required();
  command->callback([flags, &chosen] { chosen.run = [flags] { return run_status(*flags); }; });
}

}  // namespace penstock::cli
