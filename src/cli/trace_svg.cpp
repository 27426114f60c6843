// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_svg.hpp"

#include "cli/duration.hpp"
#include "cli/human.hpp"
#include "cli/map_svg.hpp"
#include "cli/terminal.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace penstock::cli {

namespace {

// Pixels.
constexpr double kLeft = 92;
constexpr double kPlot = 840;
constexpr double kRight = kLeft + kPlot;
constexpr unsigned kWidth = 960;
constexpr double kPatternTop = 112;
constexpr double kPatternHeight = 300;
constexpr double kFlushGap = 8;
constexpr double kFlushHeight = 12;
constexpr double kRatesTop = kPatternTop + kPatternHeight + 90;
constexpr double kRatesHeight = 110;
constexpr double kLatenciesTop = kRatesTop + kRatesHeight + 66;
constexpr double kLatenciesHeight = 190;
constexpr unsigned kHeight = static_cast<unsigned>(kLatenciesTop + kLatenciesHeight + 56);
constexpr std::size_t kTitleColumns = 60;

constexpr unsigned kLevels = 4;  ///< of opacity
constexpr std::array<const char*, kLevels> kOpacities{".4", ".6", ".8", "1"};
constexpr std::array<const char*, fuse::kRequestKinds> kColours{"#2166ac", "#d6604d", "#4d4d4d", "#8e44ad"};
constexpr auto kFlush = static_cast<std::size_t>(fuse::RequestKind::flush);

std::string number(double value) {
  return printf_text("%.1f", value);
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view text) {
  return concat("<text x=\"", number(x), "\" y=\"", number(y), "\" text-anchor=\"", anchor, "\">", text, "</text>\n");
}

std::string line(double x1, double y1, double x2, double y2, std::string_view look = "grid") {
  return concat("<path class=\"", look, "\" d=\"M", number(x1), ' ', number(y1), 'L', number(x2), ' ', number(y2),
                "\"/>\n");
}

std::string frame(double y, double height, std::string_view title) {
  return concat("<text class=\"title\" x=\"", number(kLeft), "\" y=\"", number(y - 10), "\">", title,
                "</text>\n<rect class=\"frame\" x=\"", number(kLeft), "\" y=\"", number(y), "\" width=\"",
                number(kPlot), "\" height=\"", number(height), "\"/>\n");
}

/// 1, 2 or 5 times a power of ten: the smallest that takes no more than `parts` steps to `most`.
double round_step(double most, double parts) {
  if (!(most > 0)) return 1;
  const double power = std::pow(10, std::floor(std::log10(most / parts)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power * parts >= most) return factor * power;
  }
  return 10 * power;
}

/// "0.25", "1500": no more digits than it takes.
std::string plain(double value) {
  return printf_text("%.6g", value);
}

}  // namespace

TracePicture::TracePicture(const TraceSummary& summary)
    : summary_(summary),
      cells_(fuse::kRequestKinds, std::vector<std::uint32_t>(std::size_t{kColumns} * kRows)),
      rates_(fuse::kRequestKinds, std::vector<std::uint32_t>(kSeconds)) {}

double TracePicture::part_of_time(std::uint64_t nanoseconds) const {
  if (nanoseconds <= summary_.began || summary_.ended <= summary_.began) return 0;
  const double part =
      static_cast<double>(nanoseconds - summary_.began) / static_cast<double>(summary_.ended - summary_.began);
  return std::min(part, 1.0);
}

void TracePicture::add(const fuse::TraceRecord& record) {
  if (record.lost) return;
  const auto kind = static_cast<std::size_t>(record.kind);
  const double when = part_of_time(record.began);
  const auto slot = [when](unsigned count) { return std::min(static_cast<unsigned>(when * count), count - 1); };
  ++rates_[kind][slot(kSeconds)];
  const auto row_of = [this](std::uint64_t offset) {
    const double part =
        static_cast<double>(offset) / static_cast<double>(std::max<std::uint64_t>(summary_.end_of_disk, 1));
    // A range that makes no sense may end behind everything.
    return static_cast<unsigned>(std::min(part * kRows, kRows - 1.0));
  };
  const auto last = record.length == 0 ? record.offset : std::max(record.offset, record.offset + record.length - 1);
  const unsigned end = kind == kFlush ? 0 : row_of(last);
  for (unsigned row = kind == kFlush ? 0 : row_of(record.offset); row <= end; ++row) {
    ++cells_[kind][std::size_t{row} * kColumns + slot(kColumns)];
  }
}

std::string TracePicture::pattern_svg() const {
  std::uint32_t most = 1;
  for (std::size_t kind = 0; kind < cells_.size(); ++kind) {
    if (kind != kFlush) most = std::max(most, *std::ranges::max_element(cells_[kind]));
  }
  // One path for each look keeps the file small.
  std::array<std::array<std::string, kLevels>, fuse::kRequestKinds> paths;
  constexpr double kCellWidth = kPlot / kColumns;
  constexpr double kCellHeight = kPatternHeight / kRows;
  struct Look {
    std::size_t kind;
    unsigned level;
    bool operator==(const Look&) const = default;
  };
  const auto look_of = [&](std::size_t cell) -> std::optional<Look> {
    std::size_t best = 0;
    for (std::size_t kind = 1; kind < cells_.size(); ++kind) {
      if (kind != kFlush && cells_[kind][cell] > cells_[best][cell]) best = kind;
    }
    const auto count = cells_[best][cell];
    if (count == 0) return std::nullopt;
    const double part = most < 2 ? 1 : std::log(count) / std::log(most);
    return Look{best, std::min(static_cast<unsigned>(part * kLevels), kLevels - 1)};
  };
  for (unsigned row = 0; row < kRows; ++row) {
    // The disk begins at the bottom.
    const double y = kPatternTop + kPatternHeight - (row + 1) * kCellHeight;
    for (unsigned column = 0; column < kColumns;) {
      const auto look = look_of(std::size_t{row} * kColumns + column);
      unsigned end = column + 1;
      while (end < kColumns && look_of(std::size_t{row} * kColumns + end) == look) ++end;
      if (look) {
        const std::string width = number((end - column) * kCellWidth);
        paths[look->kind][look->level] += concat('M', number(kLeft + column * kCellWidth), ' ', number(y), 'h', width,
                                                 'v', number(kCellHeight), "h-", width, 'z');
      }
      column = end;
    }
  }
  std::string out = frame(kPatternTop, kPatternHeight, "Where on the disk");
  for (unsigned quarter = 0; quarter <= 4; ++quarter) {
    const double y = kPatternTop + kPatternHeight - kPatternHeight * quarter / 4;
    if (quarter % 4 != 0) out += line(kLeft, y, kRight, y);
    out += text_at(kLeft - 6, y + 4, "end", human_size(summary_.end_of_disk / 4 * quarter));
  }
  for (std::size_t kind = 0; kind < paths.size(); ++kind) {
    for (unsigned level = 0; level < kLevels; ++level) {
      if (paths[kind][level].empty()) continue;
      out += concat("<path fill=\"", kColours[kind], "\" fill-opacity=\"", kOpacities[level], "\" d=\"",
                    paths[kind][level], "\"/>\n");
    }
  }
  std::string ticks;
  for (unsigned column = 0; column < kColumns; ++column) {
    if (cells_[kFlush][column] == 0) continue;
    ticks += concat('M', number(kLeft + (column + 0.5) * kCellWidth), ' ',
                    number(kPatternTop + kPatternHeight + kFlushGap), 'v', number(kFlushHeight));
  }
  if (!ticks.empty()) {
    out += concat("<path stroke=\"", kColours[kFlush], "\" stroke-width=\"1.5\" d=\"", ticks, "\"/>\n");
    out += text_at(kLeft - 6, kPatternTop + kPatternHeight + kFlushGap + kFlushHeight - 2, "end", "flushes");
  }
  return out;
}

std::string TracePicture::time_axis_svg(unsigned y) const {
  const double seconds = summary_.seconds();
  const double step = round_step(seconds, 10);
  std::string out;
  for (unsigned tick = 0; seconds > 0 && tick * step <= seconds * 1.000001; ++tick) {
    const double x = kLeft + kPlot * (tick * step / seconds);
    out += concat(line(x, y, x, y + 4, "tick"), text_at(x, y + 17, "middle", concat(plain(tick * step), " s")));
  }
  return out;
}

std::string TracePicture::rates_svg() const {
  std::string out = frame(kRatesTop, kRatesHeight, "Requests a second");
  std::uint32_t most = 1;
  for (const auto& rates : rates_) most = std::max(most, *std::ranges::max_element(rates));
  const double width = std::max(summary_.seconds() / kSeconds, 1e-9);
  const double step = round_step(most / width, 4);
  const double top = step * std::max(1.0, std::ceil(most / width / step));
  for (double value = 0; value <= top * 1.000001; value += step) {
    const double y = kRatesTop + kRatesHeight * (1 - value / top);
    out += concat(line(kLeft, y, kRight, y), text_at(kLeft - 6, y + 4, "end", plain(value)));
  }
  for (std::size_t kind = 0; kind < rates_.size(); ++kind) {
    if (summary_.kinds[kind].requests == 0) continue;
    // Where there is nothing there is no line: it would cover those of other kinds.
    std::string path;
    const double zero = kRatesTop + kRatesHeight;
    bool open = false;
    for (unsigned column = 0; column < kSeconds; ++column) {
      const auto count = rates_[kind][column];
      const double x = kLeft + kPlot * column / kSeconds;
      if (!open && count != 0) path += concat('M', number(x), ' ', number(zero));
      if (count != 0)
        path += concat('V', number(zero - kRatesHeight * (count / width / top)), 'H', number(x + kPlot / kSeconds));
      if (open && count == 0) path += concat('V', number(zero));
      open = count != 0;
    }
    out += concat("<path fill=\"none\" stroke=\"", kColours[kind], "\" stroke-width=\"1.5\" d=\"", path, "\"/>\n");
  }
  return out;
}

std::string TracePicture::latencies_svg() const {
  std::string out = frame(kLatenciesTop, kLatenciesHeight, "How long they took: part of the requests of a kind");
  // By half powers of two: their quarters, as they are counted, are too fine for few requests.
  struct Bin {
    double begin;  ///< log10 of nanoseconds
    double part;
  };
  std::array<std::vector<Bin>, fuse::kRequestKinds> curves;
  double first = 12;
  double last = 0;
  double most = 0;
  // A few requests of a kind, all in one bin, would leave no room for the others.
  constexpr std::uint64_t kMany = 20;
  const bool some_are_many =
      std::ranges::any_of(summary_.kinds, [](const auto& facts) { return facts.requests >= kMany; });
  const double half = std::log10(2.0) / 2;
  for (std::size_t kind = 0; kind < curves.size(); ++kind) {
    const auto& facts = summary_.kinds[kind];
    for (const auto& step : facts.steps) {
      // A step reaches down to four fifths of its bound at the least; its middle decides.
      const double begin = std::floor(std::log10(std::max(1.0, static_cast<double>(step.below) * 0.9)) / half) * half;
      const double part = static_cast<double>(step.count) / static_cast<double>(facts.requests);
      auto& curve = curves[kind];
      if (curve.empty() || curve.back().begin < begin - half / 2) curve.push_back({begin, 0});
      curve.back().part += part;
      if (!some_are_many || facts.requests >= kMany) most = std::max(most, curve.back().part);
    }
    if (curves[kind].empty()) continue;
    first = std::min(first, curves[kind].front().begin);
    last = std::max(last, curves[kind].back().begin + half);
  }
  if (first > last)
    return out + text_at(kLeft + kPlot / 2, kLatenciesTop + kLatenciesHeight / 2, "middle", "no requests");
  first = std::floor(first);
  last = std::max(std::ceil(last), first + 1);
  const auto x_of = [&](double log) { return kLeft + kPlot * (log - first) / (last - first); };
  const double step = round_step(most * 100, 5);
  const double top = step * std::ceil(most * 100 / step - 1e-9) / 100;
  const auto y_of = [&](double part) { return kLatenciesTop + kLatenciesHeight * (1 - std::min(part / top, 1.0)); };
  constexpr std::array<const char*, 12> kDecades{"1 ns", "10 ns", "100 ns", "1 us", "10 us", "100 us",
                                                 "1 ms", "10 ms", "100 ms", "1 s",  "10 s",  "100 s"};
  for (int decade = static_cast<int>(first); decade <= static_cast<int>(last); ++decade) {
    const double x = x_of(decade);
    out += line(x, kLatenciesTop, x, kLatenciesTop + kLatenciesHeight);
    const auto name = std::min<std::size_t>(static_cast<std::size_t>(std::max(decade, 0)), kDecades.size() - 1);
    out += text_at(x, kLatenciesTop + kLatenciesHeight + 17, "middle", kDecades.at(name));
  }
  for (double percent = 0; percent <= top * 100.0001; percent += step) {
    out += concat(line(kLeft, y_of(percent / 100), kRight, y_of(percent / 100)),
                  text_at(kLeft - 6, y_of(percent / 100) + 4, "end", concat(plain(percent), " %")));
  }
  std::string cut;
  for (std::size_t kind = 0; kind < curves.size(); ++kind) {
    if (curves[kind].empty()) continue;
    std::string path;
    double end = -1;
    for (const auto& bin : curves[kind]) {
      if (end < 0) path += concat('M', number(x_of(bin.begin)), ' ', number(y_of(0)));
      if (end >= 0 && bin.begin > end + half / 2) path += concat('V', number(y_of(0)), 'H', number(x_of(bin.begin)));
      path += concat('V', number(y_of(bin.part)), 'H', number(x_of(bin.begin + half)));
      end = bin.begin + half;
      if (bin.part <= top * 1.0001) continue;
      const bool at_right_edge = x_of(end) > kRight - 45;
      cut += text_at(at_right_edge ? x_of(bin.begin) - 4 : x_of(end) + 4, kLatenciesTop + 14,
                     at_right_edge ? "end" : "start", concat(plain(std::round(bin.part * 100)), " %"));
    }
    path += concat('V', number(y_of(0)), 'z');
    out += concat("<path fill=\"", kColours[kind], "\" fill-opacity=\".18\" stroke=\"", kColours[kind],
                  "\" stroke-width=\"1.5\" d=\"", path, "\"/>\n");
  }
  return out + cut;
}

std::string TracePicture::legend_svg() const {
  std::string out;
  double x = kLeft;
  for (std::size_t kind = 0; kind < summary_.kinds.size(); ++kind) {
    const auto& facts = summary_.kinds[kind];
    if (facts.requests == 0) continue;
    out += concat("<rect fill=\"", kColours[kind], "\" x=\"", number(x), "\" y=\"46\" width=\"12\" height=\"12\"/>\n");
    out += text_at(x + 18, 56, "start", concat(facts.kind, ": ", facts.requests, ", ", human_size(facts.bytes)));
    out +=
        text_at(x + 18, 72, "start",
                concat("p50 ", human_latency(facts.percentile(0.5)), ", p99 ", human_latency(facts.percentile(0.99))));
    x += kPlot / 4;
  }
  return out;
}

std::string TracePicture::svg(std::string_view name) const {
  const std::string title = concat(": ", summary_.records, " requests in ", printf_text("%.3g", summary_.seconds()),
                                   " s", summary_.lost == 0 ? "" : concat(", ", summary_.lost, " not recorded"));
  std::string out = concat(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", kWidth,
      "\" height=\"", kHeight, "\" viewBox=\"0 0 ", kWidth, ' ', kHeight, "\" role=\"img\">\n<title>",
      xml_text(concat(name, title)),
      "</title>\n<style>text { font: 12px sans-serif; fill: #222 } .title { font-size: 13px; font-weight: bold } "
      ".frame { fill: none; stroke: #999 } .grid { stroke: #e2e2e2 } .tick { stroke: #999 }</style>\n<rect width=\"",
      kWidth, "\" height=\"", kHeight, "\" fill=\"#fff\"/>\n<text x=\"", number(kLeft),
      "\" y=\"28\" style=\"font-size:16px;font-weight:bold\">",
      xml_text(concat(clipped_left(name, kTitleColumns), title)), "</text>\n");
  out += legend_svg() + pattern_svg();
  out += time_axis_svg(static_cast<unsigned>(kPatternTop + kPatternHeight + kFlushGap + kFlushHeight + 4));
  out += rates_svg() + time_axis_svg(static_cast<unsigned>(kRatesTop + kRatesHeight)) + latencies_svg();
  return out + "</svg>\n";
}

}  // namespace penstock::cli
