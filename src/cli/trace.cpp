// SPDX-License-Identifier: Apache-2.0
/// penstock trace: what `mount --trace` has recorded, as numbers, lines or a picture.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/human.hpp"
#include "cli/json_text.hpp"
#include "cli/terminal.hpp"
#include "cli/trace_file.hpp"
#include "cli/trace_svg.hpp"

#include "base/text.hpp"

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <memory>

namespace penstock::cli {

namespace {

constexpr int kVersion = 1;  ///< of the JSON

struct Flags {
  std::string file;
  std::string output = "human";
};

std::string utc(std::uint64_t nanoseconds) {
  const auto seconds = static_cast<std::time_t>(nanoseconds / 1'000'000'000);
  std::tm parts{};
  if (gmtime_r(&seconds, &parts) == nullptr) return concat(seconds);
  return printf_text("%04d-%02d-%02d %02d:%02d:%02d UTC", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string human(const fuse::TraceHeader& header, const TraceSummary& summary) {
  std::string out =
      concat("image: ", printable(header.image), "\nvirtual size: ", human_size(header.virtual_size), " (",
             header.virtual_size, " bytes)\nmounted: ", utc(header.started_at), "\nrequests: ", summary.records, " in ",
             printf_text("%.3f", summary.seconds()), " s, from ", summary.threads,
             summary.threads == 1 ? " thread" : " threads", "\nnot recorded: ", summary.lost, '\n');
  const double seconds = summary.seconds();
  for (std::size_t kind = 0; kind < summary.kinds.size(); ++kind) {
    const auto& facts = summary.kinds[kind];
    if (facts.requests == 0) continue;
    out += '\n';
    if (seconds > 0) {
      out += concat(facts.kind, " rate: ", printf_text("%.0f", static_cast<double>(facts.requests) / seconds), "/s, ",
                    human_size(static_cast<std::uint64_t>(std::min(static_cast<double>(facts.bytes) / seconds, 9e18))),
                    "/s, ",
                    printf_text("%.1f", 100 * static_cast<double>(summary.sequential[kind]) /
                                            static_cast<double>(facts.requests)),
                    " % where the one before ended\n");
    }
    out += describe_latencies({facts}, terminal_size(STDOUT_FILENO).columns, utf8_locale());
  }
  return out;
}

std::string json(const fuse::TraceHeader& header, const TraceSummary& summary) {
  Json kinds = to_json(summary.kinds);
  for (std::size_t kind = 0; kind < summary.kinds.size(); ++kind) {
    kinds[summary.kinds[kind].kind]["sequential"] = summary.sequential[kind];
  }
  return json_text({{"version", kVersion},
                    {"image", header.image},
                    {"virtual-size", header.virtual_size},
                    {"started-at-ns", header.started_at},
                    {"began-ns", summary.began},
                    {"ended-ns", summary.ended},
                    {"threads", summary.threads},
                    {"records", summary.records},
                    {"lost", summary.lost},
                    {"requests", std::move(kinds)}});
}

Result<> print_lines(TraceFile& trace) {
  print("began_ns,kind,offset,length,latency_ns,errno,thread\n");
  return trace.for_each([](const fuse::TraceRecord& record) {
    const char* const kind = record.lost ? "lost" : fuse::kRequestNames[static_cast<std::size_t>(record.kind)];
    print(concat(record.began, ',', kind, ',', record.offset, ',', record.length, ',', record.nanoseconds, ',',
                 record.error, ',', record.thread, '\n'));
  });
}

Result<> show(const Flags& flags) {
  auto trace = TRY(TraceFile::open(flags.file));
  if (flags.output == "csv") return print_lines(trace);
  const auto summary = TRY(summarise(trace));
  if (flags.output == "svg") {
    TracePicture picture(summary);
    TRY(trace.for_each([&picture](const fuse::TraceRecord& record) { picture.add(record); }));
    print(picture.svg(trace.header().image));
    return {};
  }
  print(flags.output == "json" ? json(trace.header(), summary) : human(trace.header(), summary));
  return {};
}

int run_trace(const Flags& flags) {
  const auto shown = show(flags);
  return shown ? finish_output(kSuccess) : report(shown.error());
}

}  // namespace

Command trace_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "trace",
          .help = "Show what 'mount --trace' has recorded",
          .options =
              {
                  {"--output",
                   "human|json|csv|svg",
                   &flags->output,
                   "human (the default), json, a line for each request (csv), or a picture (svg)",
                   {.choices = {"human", "json", "csv", "svg"}}},
                  {"file", "FILE", &flags->file, "The file that was named after --trace", {.required = true}},
              },
          .run = runs(run_trace, flags)};
}

}  // namespace penstock::cli
