// SPDX-License-Identifier: Apache-2.0
#include "cli/status_screen.hpp"

#include "cli/heat_map.hpp"
#include "cli/status_report.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace penstock::cli {
namespace {

Json example() {
  return Json::parse(R"({
    "image": "/srv/vm/my.qed", "format": "qed", "mountpoint": "/mnt/d", "view": "/mnt/d/my.raw",
    "virtual-size": 4294967296, "actual-size": 1073741824, "read-only": false, "resizable": false, "discard": "unmap",
    "detect-zeroes": "off", "pid": 77, "threads": 4, "cache-bytes": 1048576, "cache-bytes-max": 67108864,
    "control": "/run/penstock/77.sock", "finalised": false,
    "layers": [{"filename": "/srv/vm/my.qed", "format": "qed", "virtual-size": 4294967296, "actual-size": 1073741824},
               {"filename": "/srv/base.img", "format": "raw", "virtual-size": 4294967296, "actual-size": 3221225472}],
    "stream": {"state": "running", "length": 4294967296, "offset": 1073741824, "copied": 805306368, "zeroed": 268435456,
               "left": 0, "speed": 209715200, "rate": 104857600, "data": 805306368, "to-copy": 2415919104, "errors": 2, "no-space": false,
               "error": "base.img: Input/output error"},
    "copy-on-read": {"enabled": true, "bytes": 65536, "failures": 1},
    "guest": {"in-flight": 3, "reads": 1000, "read-bytes": 4096000, "writes": 1, "write-bytes": 512, "flushes": 1,
              "zeroes": 2, "errors": 0,
              "read-latency-ns": {"p50": 90000, "p90": 120000, "p99": 1240000, "max": 5000000},
              "write-latency-ns": {"p50": 1, "p90": 2, "p99": 3, "max": 4}},
    "provisioned": {"data": 805306368, "zero": 268435456, "missing": 2147483648, "known-zero": 1073741824}
  })");
}

StatusFacts facts_of(const Json& status) {
  auto facts = status_facts(status);
  EXPECT_TRUE(facts) << (facts ? "" : facts.error().message());
  return facts.value_or(StatusFacts());
}

/// Without colours.
std::string bare(std::string text) {
  for (auto at = text.find('\033'); at != std::string::npos; at = text.find('\033')) {
    text.erase(at, text.find('m', at) + 1 - at);
  }
  return text;
}

TEST(StatusFacts, TakesTheAnswerApart) {
  const StatusFacts facts = facts_of(example());
  ASSERT_TRUE(facts.job);
  EXPECT_EQ(facts.job->speed_max, 209715200U);
  EXPECT_DOUBLE_EQ(facts.job->seconds_left(), 2415919104.0 / 104857600);
  ASSERT_TRUE(facts.guest);
  EXPECT_EQ(facts.guest->read_latency.p99, 1240000U);
  ASSERT_TRUE(facts.provisioned);
  EXPECT_EQ(facts.provisioned->missing, 2147483648U);
  ASSERT_EQ(facts.layers.size(), 2U);
  EXPECT_EQ(facts.layers[1].format, "raw");
}

TEST(StatusFacts, NeedsNothingAndTrustsNothing) {
  EXPECT_FALSE(facts_of(Json::object()).job);
  Json status = example();
  status["stream"] = nullptr;
  EXPECT_FALSE(facts_of(status).job);
  EXPECT_FALSE(status_facts(Json::array()));
  status["virtual-size"] = "many";
  const auto wrong = status_facts(status);
  ASSERT_FALSE(wrong);
  EXPECT_TRUE(wrong.error().is(EPROTO));
  status = example();
  status["image"] = "a\033[2Jb\xc2\x9b\x32J";
  EXPECT_EQ(facts_of(status).image, "a\\x1b[2Jb?2J");
}

TEST(StatusFacts, TakesThePlaceOnTheDiskFromAnOlderDaemon) {
  Json status = example();
  status["stream"].erase("to-copy");
  const StatusFacts facts = facts_of(status);
  ASSERT_TRUE(facts.job);
  EXPECT_EQ(facts.job->data, 1073741824U);
  EXPECT_EQ(facts.job->data_in_the_end(), 4294967296U);
}

TEST(JobFacts, AJobThatIsNotDoneIsNotCalledWhole) {
  EXPECT_EQ(describe_job({.state = "finishing", .data = 1U << 30U}), "finishing, 99.9 %, 0 B/s");
  EXPECT_EQ(describe_job({.state = "done"}), "done, 100.0 %");
}

TEST(StatusReport, HasALineForEachFact) {
  const std::string text = describe(facts_of(example()));
  for (const char* line :
       {"\nstream: running, 25.0 %, 100 MiB/s, 23s left\n",
        "\nstreamed: 768 MiB copied, 256 MiB zeroed, limit 200 MiB/s, 2 errors\n",
        "\nlast error: base.img: Input/output error\n", "\ndisk: 768 MiB provisioned, 1.25 GiB zero, 2 GiB left\n",
        "\nguest reads: 1000 requests, 3.91 MiB, p50 90 us, p90 120 us, p99 1.24 ms, max 5 ms\n",
        "\nguest writes: 1 request, 512 B, p50 1 ns, p90 2 ns, p99 3 ns, max 4 ns\n",
        "\nguest: 1 flush, 2 zeroed ranges, 3 in flight, 0 errors\n", "\ncopy-on-read: 64 KiB, 1 failure\n",
        "    /srv/base.img (raw, virtual size 4 GiB, disk size 3 GiB)\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "in\n" << text;
  }
}

TEST(StatusReport, SaysWhatAJobWaitsFor) {
  JobFacts job{.state = "waiting", .data = 50, .to_copy = 50, .no_space = true};
  EXPECT_EQ(describe_job(job), "waiting, 50.0 %, 0 B/s, waiting for room on the host");
  job.no_space = false;
  EXPECT_EQ(describe_job(job), "waiting, 50.0 %, 0 B/s, waiting to try again");
  job.state = "done";
  job.data = 100;
  job.to_copy = 0;
  EXPECT_EQ(describe_job(job), "done, 100.0 %");
}

TEST(GuestRates, ComeFromTwoLooks) {
  const GuestFacts before{.reads = 10, .read_bytes = 1000, .writes = 5, .write_bytes = 50};
  const GuestFacts now{.reads = 30, .read_bytes = 5000, .writes = 5, .write_bytes = 50};
  const auto rates = guest_rates(before, now, 2);
  ASSERT_TRUE(rates);
  EXPECT_DOUBLE_EQ(rates->reads, 10);
  EXPECT_DOUBLE_EQ(rates->read_bytes, 2000);
  EXPECT_DOUBLE_EQ(rates->writes, 0);
  EXPECT_FALSE(guest_rates(before, now, 0));
}

TEST(HeatMap, ShowsEachCellInItsPlace) {
  EXPECT_EQ(heat_map("..##zz>www", 5, 2, {}), (std::vector<std::string>{"..##z", "z>www"}));
  EXPECT_EQ(heat_map(".#z>w?", 6, 1, {.unicode = true}), (std::vector<std::string>{"·█░►▚·"}));
  EXPECT_EQ(heat_map("##..", 2, 1, {.colour = true}), (std::vector<std::string>{"\033[0;32m#\033[0;90m.\033[0m"}));
}

TEST(HeatMap, SpreadsCellsOverWhatRoomThereIs) {
  EXPECT_EQ(heat_map("#.", 4, 2, {}), (std::vector<std::string>{"####", "...."}));
  EXPECT_EQ(heat_map("", 4, 1, {}), (std::vector<std::string>{""}));
}

TEST(StatusScreen, FitsAnyTerminalAndFillsIt) {
  Json status = example();
  status["image"] = "/srv/一個很長的名字/" + std::string(300, 'x') + ".qed";
  status["stream"]["error"] = std::string(500, 'e');
  for (const Json& each : {status, example(), Json::object()}) {
    const StatusFacts facts = facts_of(each);
    for (const unsigned columns : {1U, 7U, 20U, 40U, 79U, 80U}) {
      for (const unsigned rows : {1U, 2U, 3U, 4U, 5U, 10U, 17U, 24U}) {
        for (const Look look : {Look{}, Look{.unicode = true}, Look{.colour = true, .unicode = true}}) {
          const std::string cells(screen_cells(facts, {columns, rows}), '#');
          const auto lines = status_screen(facts, GuestRates{}, cells, {columns, rows}, look);
          ASSERT_LE(lines.size(), rows);
          ASSERT_GE(lines.size(), rows >= 4 ? rows : 1);
          for (const auto& line : lines) ASSERT_LE(columns_of(bare(line)), columns) << line;
        }
      }
    }
  }
}

TEST(StatusScreen, ShowsTheUsualTerminalEverything) {
  const StatusFacts facts = facts_of(example());
  const TerminalSize size{.columns = 80, .rows = 24};
  std::string cells(screen_cells(facts, size), '#');
  EXPECT_EQ(cells.size() % 80, 0U);
  EXPECT_GE(cells.size(), 7U * 80);
  cells[0] = '>';
  std::string text;
  for (const auto& line : status_screen(facts, GuestRates{.reads = 12, .read_bytes = 49152}, cells, size, {})) {
    text += line + '\n';
  }
  for (const char* part :
       {"/srv/vm/my.qed  qed, 4 GiB\n", "  25.0 %\n", "stream    running  100 MiB/s of at most 200 MiB/s  23s left\n",
        "error     base.img: Input/output error\n", "disk      768 MiB provisioned, 1.25 GiB zero, 2 GiB left\n",
        "reads     12/s  48 KiB/s  p50 90 us  p99 1.24 ms  max 5 ms\n",
        "worker    768 MiB copied, 256 MiB zeroed, 2 errors\n", "cache     1 MiB of 64 MiB", "\n>####",
        ". unprovisioned  # provisioned  z zero  > being copied  w guest-written"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "in\n" << text;
  }
}

TEST(StatusScreen, KeepsTheEssentialsOnTheSmallestTerminal) {
  const StatusFacts facts = facts_of(example());
  const TerminalSize size{.columns = 40, .rows = 10};
  const auto lines = status_screen(facts, std::nullopt, std::string(screen_cells(facts, size), '.'), size, {});
  ASSERT_EQ(lines.size(), 10U);
  EXPECT_NE(lines[1].find("25.0 %"), std::string::npos);
  EXPECT_TRUE(lines[2].starts_with("stream    running")) << lines[2];
  EXPECT_EQ(lines[8], std::string(40, '.'));
  EXPECT_EQ(lines[9], ". left # done z zero > now w guest");
}

TEST(StatusScreen, HasNoColoursUnlessWanted) {
  const StatusFacts facts = facts_of(example());
  for (const auto& line : status_screen(facts, std::nullopt, "#z.>w", {80, 24}, {.unicode = true})) {
    EXPECT_EQ(line.find('\033'), std::string::npos);
  }
}

}  // namespace
}  // namespace penstock::cli
