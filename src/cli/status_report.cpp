// SPDX-License-Identifier: Apache-2.0
#include "cli/status_report.hpp"

#include "cli/duration.hpp"
#include "cli/human.hpp"
#include "cli/progress.hpp"

#include "base/text.hpp"

#include <string_view>

namespace penstock::cli {

namespace {

std::string plural(std::uint64_t count, std::string_view one) {
  return concat(count, ' ', one, count == 1 ? "" : "s");
}

std::string requests(std::uint64_t count, std::string_view one, std::uint64_t bytes, const LatencyFacts& latency) {
  const std::string times = count == 0 ? "" : concat(", ", describe_latency(latency));
  return concat(plural(count, one), ", ", human_size(bytes), times, '\n');
}

std::string describe_guest(const GuestFacts& guest) {
  return concat("guest reads: ", requests(guest.reads, "request", guest.read_bytes, guest.read_latency),
                "guest writes: ", requests(guest.writes, "request", guest.write_bytes, guest.write_latency),
                "guest: ", guest.flushes, guest.flushes == 1 ? " flush, " : " flushes, ",
                plural(guest.zeroes, "zeroed range"), ", ", guest.in_flight, " in flight, ",
                plural(guest.errors, "error"), '\n');
}

std::string describe_job_work(const JobFacts& job) {
  std::string out = concat("streamed: ", human_size(job.copied), " copied, ", human_size(job.zeroed), " zeroed");
  if (job.left != 0) out += concat(", ", human_size(job.left), " zero as it is");
  out += concat(", limit ", job.speed_max == 0 ? "none" : human_rate(static_cast<double>(job.speed_max)), ", ",
                plural(job.errors, "error"), '\n');
  if (!job.base.empty()) out += concat("stream base: ", job.base, '\n');
  if (!job.error.empty()) out += concat("last error: ", job.error, '\n');
  return out;
}

}  // namespace

std::string human_rate(double bytes_per_second) {
  return concat(human_size(static_cast<std::uint64_t>(bytes_per_second)), "/s");
}

std::string describe_latency(const LatencyFacts& latency) {
  return concat("p50 ", human_latency(latency.p50), ", p90 ", human_latency(latency.p90), ", p99 ",
                human_latency(latency.p99), ", max ", human_latency(latency.max));
}

std::string describe_amounts(const ProvisionedFacts& amounts) {
  return concat(amounts.estimated ? "about " : "", human_size(amounts.data), " provisioned, ",
                human_size(amounts.zero + amounts.known_zero), " zero, ", human_size(amounts.missing), " left");
}

std::string describe_job(const JobFacts& job) {
  const std::string percent = percentage(job.data, job.data_in_the_end());
  std::string out = concat(job.state, ", ", percent.substr(percent.find_first_not_of(' ')));
  if (job.ended()) return out;
  out += concat(", ", human_rate(job.rate));
  if (job.no_space || job.state == "waiting") return concat(out, ", ", job.obstacle());
  if (job.seconds_left() >= 0) out += concat(", ", human_duration(job.seconds_left()), " left");
  return out;
}

std::string describe(const StatusFacts& facts) {
  std::string out = concat(
      "image: ", facts.image, "\nfile format: ", facts.format, "\nvirtual size: ", human_size(facts.virtual_size), " (",
      facts.virtual_size, " bytes)\ndisk size: ", human_size(facts.actual_size), "\nraw file: ", facts.view,
      "\naccess: ", facts.read_only ? "read-only" : "read-write", facts.resizable ? ", resizable" : "",
      "\ndiscard: ", facts.discard, "\ndetect zeroes: ", facts.detect_zeroes, "\nthreads: ", facts.threads,
      "\ncache memory: ", human_size(facts.cache_bytes), " of ", human_size(facts.cache_bytes_max),
      "\nprocess: ", facts.pid, "\ncontrol socket: ", facts.control, '\n');
  if (facts.guest) out += describe_guest(*facts.guest);
  if (facts.copy_on_read && facts.copy_on_read->enabled) {
    out += concat("copy-on-read: ", human_size(facts.copy_on_read->bytes), ", ",
                  plural(facts.copy_on_read->failures, "failure"), '\n');
  }
  if (facts.provisioned) out += concat("disk: ", describe_amounts(*facts.provisioned), '\n');
  if (facts.job) out += concat("stream: ", describe_job(*facts.job), '\n', describe_job_work(*facts.job));
  if (facts.finalised) out += "finalised: the image stands alone\n";
  out += "layers, from the top down:\n";
  for (const LayerFacts& layer : facts.layers) {
    out += concat("    ", layer.filename, " (", layer.format, ", virtual size ", human_size(layer.virtual_size),
                  ", disk size ", human_size(layer.actual_size), ")\n");
  }
  return out;
}

}  // namespace penstock::cli
