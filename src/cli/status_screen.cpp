// SPDX-License-Identifier: Apache-2.0
#include "cli/status_screen.hpp"

#include "cli/duration.hpp"
#include "cli/heat_map.hpp"
#include "cli/human.hpp"
#include "cli/progress.hpp"
#include "cli/status_report.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace penstock::cli {

namespace {

/// A line with a name in front.
struct Detail {
  std::string_view name;
  std::string text;
  Style style = Style::plain;
};
constexpr std::size_t kNameColumns = 10;

std::string job_text(const StatusFacts& facts) {
  if (!facts.job) return facts.layers.size() > 1 ? "no job" : "no backing file: the image stands alone";
  const JobFacts& job = *facts.job;
  if (job.state == "done") return facts.finalised ? "done: the image stands alone" : "done";
  if (job.ended()) return job.state;
  std::string text = job.state;
  if (const std::string obstacle = job.obstacle(); obstacle != job.state && !obstacle.empty()) text = obstacle;
  text += concat("  ", human_rate(job.rate));
  if (job.speed_max != 0) text += concat(" of at most ", human_rate(static_cast<double>(job.speed_max)));
  if (job.seconds_left() >= 0 && job.state == "running")
    text += concat("  ", human_duration(job.seconds_left()), " left");
  return text;
}

std::string requests_text(std::uint64_t count, std::uint64_t bytes, const LatencyFacts& latency,
                          std::optional<std::pair<double, double>> rate) {
  const std::string now =
      rate ? concat(printf_text("%.0f", rate->first), "/s  ", human_rate(rate->second)) : human_size(bytes);
  if (count == 0) return now;
  return concat(now, "  p50 ", human_latency(latency.p50), "  p99 ", human_latency(latency.p99), "  max ",
                human_latency(latency.max));
}

std::string file_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

std::string chain_text(const StatusFacts& facts) {
  std::string text;
  for (const LayerFacts& layer : facts.layers) {
    text += concat(text.empty() ? "" : " < ", file_name(layer.filename), " (", layer.format, ")");
  }
  return text;
}

/// The most important first: a low screen shows only some.
std::vector<Detail> details_of(const StatusFacts& facts, const std::optional<GuestRates>& rates) {
  std::vector<Detail> details;
  details.push_back({"stream", job_text(facts)});
  if (facts.job && !facts.job->error.empty()) details.push_back({"error", facts.job->error, Style::warning});
  if (facts.provisioned) details.push_back({"disk", describe_amounts(*facts.provisioned)});
  if (facts.guest) {
    const GuestFacts& guest = *facts.guest;
    using Rate = std::optional<std::pair<double, double>>;
    details.push_back({"reads", requests_text(guest.reads, guest.read_bytes, guest.read_latency,
                                              rates ? Rate({rates->reads, rates->read_bytes}) : Rate())});
    details.push_back({"writes", requests_text(guest.writes, guest.write_bytes, guest.write_latency,
                                               rates ? Rate({rates->writes, rates->write_bytes}) : Rate())});
  }
  if (facts.job) {
    details.push_back({"worker", concat(human_size(facts.job->copied), " copied, ", human_size(facts.job->zeroed),
                                        " zeroed, ", facts.job->errors, " errors")});
  }
  const std::string busy =
      facts.guest ? concat(", ", facts.guest->in_flight, " in flight, ", facts.guest->errors, " guest errors") : "";
  details.push_back({"cache", concat(human_size(facts.cache_bytes), " of ", human_size(facts.cache_bytes_max), busy)});
  if (facts.copy_on_read && facts.copy_on_read->enabled) {
    details.push_back({"on read", concat(human_size(facts.copy_on_read->bytes), " copied, ",
                                         facts.copy_on_read->failures, " failures")});
  }
  details.push_back({"chain", chain_text(facts)});
  return details;
}

struct Layout {
  unsigned details = 0;
  bool blank = false;  ///< between them and the map
  unsigned map_rows = 0;
};

Layout layout_of(std::size_t details, TerminalSize size) {
  constexpr unsigned kFixedRows = 3;  // title, bar, legend
  if (size.rows <= kFixedRows) return {};
  const unsigned rows = size.rows - kFixedRows;
  const unsigned map_rows_min = std::max(1U, size.rows * 3 / 10);
  Layout layout{.blank = size.rows >= 20};
  const unsigned rest = rows - std::min(rows, map_rows_min + (layout.blank ? 1 : 0));
  layout.details = static_cast<unsigned>(std::min<std::size_t>(details, rest));
  layout.map_rows = rows - layout.details - (layout.blank ? 1 : 0);
  return layout;
}

std::string title_line(const StatusFacts& facts, TerminalSize size, Look look) {
  const std::string size_text =
      concat("  ", facts.format, ", ", human_size(facts.virtual_size), facts.read_only ? ", read-only" : "");
  StyledLine line(size.columns, look);
  const std::size_t room = size.columns - std::min<std::size_t>(size.columns, columns_of(size_text));
  return line.add(clipped_left(facts.image, room), Style::strong).add(size_text).text();
}

std::string bar_line(const StatusFacts& facts, TerminalSize size, Look look) {
  // Zeroes do not count: they are copied in no time, and a sparse disk has little else.
  std::uint64_t done = facts.provisioned ? facts.provisioned->data : 0;
  std::uint64_t total = done + (facts.provisioned ? facts.provisioned->missing : 0);
  if (facts.job) {
    done = facts.job->data;
    total = facts.job->data_in_the_end();
  }
  const std::string percent = concat(' ', percentage(done, total));
  StyledLine line(size.columns, look);
  if (size.columns > percent.size()) {
    const double fraction = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
    line.add(text_bar(fraction, size.columns - static_cast<unsigned>(percent.size()), look.unicode),
             Style::provisioned);
  }
  return line.add(percent, Style::strong).text();
}

}  // namespace

std::optional<GuestRates> guest_rates(const GuestFacts& before, const GuestFacts& now, double seconds) {
  if (!(seconds > 0)) return std::nullopt;
  const auto rate = [seconds](std::uint64_t old_count, std::uint64_t count) {
    return count > old_count ? static_cast<double>(count - old_count) / seconds : 0;
  };
  return GuestRates{.reads = rate(before.reads, now.reads),
                    .read_bytes = rate(before.read_bytes, now.read_bytes),
                    .writes = rate(before.writes, now.writes),
                    .write_bytes = rate(before.write_bytes, now.write_bytes)};
}

unsigned screen_cells(const StatusFacts& facts, TerminalSize size) {
  return layout_of(details_of(facts, std::nullopt).size(), size).map_rows * size.columns;
}

std::vector<std::string> status_screen(const StatusFacts& facts, const std::optional<GuestRates>& rates,
                                       std::string_view cells, TerminalSize size, Look look) {
  const auto details = details_of(facts, rates);
  const Layout layout = layout_of(details.size(), size);
  std::vector<std::string> lines{title_line(facts, size, look), bar_line(facts, size, look)};
  for (const Detail& detail : std::span(details).first(layout.details)) {
    StyledLine line(size.columns, look);
    line.add(detail.name, Style::faint).leave(size.columns - std::min<std::size_t>(size.columns, kNameColumns));
    lines.push_back(line.add(detail.text, detail.style).text());
  }
  if (layout.blank) lines.emplace_back();
  for (std::string& row : heat_map(cells, size.columns, layout.map_rows, look)) lines.push_back(std::move(row));
  constexpr std::string_view kHint = "  q: quit";
  StyledLine legend = heat_map_legend(size.columns, look);
  if (legend.room() >= kHint.size()) legend.leave(kHint.size()).add(kHint, Style::faint);
  lines.push_back(legend.text());
  lines.resize(std::min<std::size_t>(lines.size(), size.rows));
  return lines;
}

}  // namespace penstock::cli
