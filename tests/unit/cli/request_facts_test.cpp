// SPDX-License-Identifier: Apache-2.0
#include "cli/request_facts.hpp"
#include "cli/status_metrics.hpp"

#include "tests/support/expect.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>

namespace penstock::cli {
namespace {

using test::must;

RequestFacts reads() {
  // 90 took 6 us at the most, 9 took 12 us, one 3 ms.
  return {.kind = "read",
          .requests = 100,
          .bytes = 409600,
          .errors = 1,
          .nanoseconds = 4'000'000,
          .max = 2'900'000,
          .steps = {{6143, 90}, {12287, 9}, {3145727, 1}}};
}

TEST(RequestFacts, PercentilesAreTheStepThatHoldsThem) {
  EXPECT_EQ(reads().percentile(0.5), 6143U);
  EXPECT_EQ(reads().percentile(0.9), 6143U);
  EXPECT_EQ(reads().percentile(0.99), 12287U);
  EXPECT_EQ(reads().percentile(1), 2'900'000U) << "no more than the longest";
  EXPECT_EQ(RequestFacts{}.percentile(0.5), 0U);
}

TEST(RequestFacts, PowersOfTwoHaveNoGapsAndLoseNothing) {
  const auto steps = reads().by_powers();
  ASSERT_EQ(steps.size(), 10U);
  EXPECT_EQ(steps.front(), (LatencyStep{8191, 90}));
  EXPECT_EQ(steps[1], (LatencyStep{16383, 9}));
  EXPECT_EQ(steps.back(), (LatencyStep{4194303, 1}));
  EXPECT_TRUE(RequestFacts{}.by_powers().empty());
  const RequestFacts extremes{.kind = {}, .steps = {{0, 1}, {3, 1}, {UINT64_MAX, 1}}};
  EXPECT_EQ(extremes.by_powers().back(), (LatencyStep{UINT64_MAX, 1}));
}

TEST(RequestFacts, SurviveTheWayThroughJson) {
  const auto back = must(request_facts({{"requests", to_json({reads()})}}));
  ASSERT_EQ(back.size(), 1U);
  EXPECT_EQ(back[0].steps, reads().steps);
  EXPECT_EQ(back[0].errors, 1U);
  EXPECT_ERRNO(request_facts({{"requests", {{"read", 5}}}}), EPROTO);
  EXPECT_ERRNO(request_facts(Json()), EPROTO);
}

TEST(RequestFacts, BarsFitTheTerminalAndShowWhatIsThere) {
  std::istringstream text(describe_latencies({reads()}, 80, false));
  std::string line;
  std::getline(text, line);
  EXPECT_EQ(line,
            "read: 100 requests, 400 KiB, 1 error, mean 40 us, p50 6.14 us, p90 6.14 us, p99 12.3 us, max 2.9 ms");
  unsigned bars = 0;
  while (std::getline(text, line)) {
    EXPECT_LE(line.size(), 80U);
    if (line.ends_with('#')) ++bars;
  }
  EXPECT_EQ(bars, 3U);
}

TEST(Metrics, LayersThatAreNoListAreNotUnderstood) {
  EXPECT_ERRNO(metrics_text({{"layers", {{"top", {{"filename", "disk.qcow2"}}}}}}, {}), EPROTO);
  EXPECT_ERRNO(metrics_text({{"layers", 5}}, {}), EPROTO);
}

TEST(Metrics, NamesOfAnyBytesAreEscaped) {
  const Json status = {{"image", "/a\"b\\c\nd\xff.qcow2"}, {"mountpoint", "/m"}};
  const auto text = must(metrics_text(status, {reads()}));
  EXPECT_NE(text.find("image=\"/a\\\"b\\\\c\\nd\xef\xbf\xbd.qcow2\""), std::string::npos) << text;
  EXPECT_NE(
      text.find("penstock_request_duration_seconds_bucket{mountpoint=\"/m\",kind=\"read\",le=\"1.6384e-05\"} 99\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("le=\"+Inf\"} 100\n"), std::string::npos);
}

}  // namespace
}  // namespace penstock::cli
