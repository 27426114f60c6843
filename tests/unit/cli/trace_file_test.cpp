// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_file.hpp"
#include "cli/trace_svg.hpp"

#include "tests/support/expect.hpp"
#include "tests/support/temporary_directory.hpp"

#include <fstream>

namespace penstock::cli {
namespace {

using fuse::RequestKind;
using fuse::TraceRecord;
using test::must;

template <typename Bytes>
void put(std::ofstream& file, const Bytes& bytes) {
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

std::string write_trace(const test::TemporaryDirectory& directory, const std::vector<TraceRecord>& records,
                        std::string_view rest = {}) {
  const auto path = directory.file("trace");
  std::ofstream file(path, std::ios::binary);
  put(file, encode(fuse::TraceHeader{.virtual_size = 1 << 20, .started_at = 0, .image = "/d/a<b>.qcow2"}));
  for (const auto& record : records) put(file, encode(record));
  put(file, rest);
  return path;
}

const std::vector<TraceRecord> kRecords{
    {.began = 5000, .offset = 4096, .length = 4096, .nanoseconds = 1000},
    {.began = 1000, .offset = 0, .length = 4096, .nanoseconds = 1000, .thread = 1},
    {.began = 6000, .offset = 65536, .length = 512, .nanoseconds = 70000, .error = 5, .kind = RequestKind::write},
    {.began = 6500, .length = 7, .lost = true},
    {.began = 7000, .nanoseconds = 100, .kind = RequestKind::flush},
};

TEST(TraceFile, GivesRecordsInOrderOfTimeAndLeavesOutHalfOnes) {
  const test::TemporaryDirectory directory;
  auto trace = must(TraceFile::open(write_trace(directory, kRecords, "half a record")));
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<std::uint64_t> times;
    EXPECT_OK(trace.for_each([&](const TraceRecord& record) { times.push_back(record.began); }));
    EXPECT_EQ(times, (std::vector<std::uint64_t>{1000, 5000, 6000, 6500, 7000}));
  }
}

TEST(TraceFile, SumsUpWhatWasRecorded) {
  const test::TemporaryDirectory directory;
  auto trace = must(TraceFile::open(write_trace(directory, kRecords)));
  const auto summary = must(summarise(trace));
  EXPECT_EQ(summary.records, 4U);
  EXPECT_EQ(summary.lost, 7U);
  EXPECT_EQ(summary.threads, 2U);
  EXPECT_EQ(summary.began, 1000U);
  EXPECT_EQ(summary.ended, 76000U);
  EXPECT_EQ(summary.kinds[0].requests, 2U);
  EXPECT_EQ(summary.kinds[0].bytes, 8192U);
  EXPECT_EQ(summary.sequential[0], 1U);
  EXPECT_EQ(summary.kinds[1].errors, 1U);
  EXPECT_EQ(summary.kinds[1].bytes, 0U);
}

TEST(TraceFile, RefusesOtherFilesAndDamage) {
  const test::TemporaryDirectory directory;
  EXPECT_ERRNO(TraceFile::open(directory.file("none")), ENOENT);
  std::ofstream(directory.file("other")) << "QFI\xfb";
  EXPECT_ERRNO(TraceFile::open(directory.file("other")), EINVAL);
  auto trace = must(TraceFile::open(write_trace(directory, {}, std::string(fuse::kTraceRecordBytes, '\x77'))));
  EXPECT_ERRNO(summarise(trace), EUCLEAN);
}

TEST(TracePicture, StandsWhateverTheNumbersAre) {
  const test::TemporaryDirectory directory;
  const std::vector<std::vector<TraceRecord>> cases{
      {},
      kRecords,
      {{.began = UINT64_MAX, .offset = UINT64_MAX, .length = UINT64_MAX, .nanoseconds = UINT64_MAX},
       {.began = 0, .offset = 0, .length = UINT64_MAX, .nanoseconds = 0, .kind = RequestKind::zero}},
  };
  for (const auto& records : cases) {
    auto trace = must(TraceFile::open(write_trace(directory, records)));
    const auto summary = must(summarise(trace));
    TracePicture picture(summary);
    EXPECT_OK(trace.for_each([&](const TraceRecord& record) { picture.add(record); }));
    const auto svg = picture.svg(trace.header().image);
    EXPECT_TRUE(svg.ends_with("</svg>\n"));
    EXPECT_NE(svg.find("a&lt;b&gt;"), std::string::npos);
    EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
    EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
  }
}

TEST(TracePicture, TellsHowHighWhatItCutsOffIs) {
  TraceSummary summary{.ended = 1'000'000, .end_of_disk = 1 << 30, .kinds = {}, .sequential = {}};
  for (const char* name : fuse::kRequestNames) summary.kinds.push_back({.kind = name});
  summary.kinds[0].requests = 100;
  summary.kinds[0].steps = {{1000, 50}, {100'000, 50}};
  EXPECT_EQ(TracePicture(summary).svg("x").find(">100 %<"), std::string::npos);
  summary.kinds[1].requests = 1;
  summary.kinds[1].steps = {{1'000'000, 1}};
  EXPECT_NE(TracePicture(summary).svg("x").find(">100 %<"), std::string::npos);
}

TEST(TracePicture, DoesNotGrowWithTheTrace) {
  TraceSummary summary{.ended = 1'000'000, .end_of_disk = 1 << 30, .kinds = {}, .sequential = {}};
  for (const char* name : fuse::kRequestNames)
    summary.kinds.push_back({.kind = name, .requests = 1, .steps = {{1, 1}}});
  TracePicture picture(summary);
  for (std::uint64_t i = 0; i < 300'000; ++i) {
    picture.add({.began = i * 3, .offset = i * 2654435761 % (1 << 30), .length = 4096, .kind = RequestKind(i % 4)});
  }
  EXPECT_LT(picture.svg("x").size(), 2U << 20U);
}

}  // namespace
}  // namespace penstock::cli
