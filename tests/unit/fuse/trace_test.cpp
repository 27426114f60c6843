// SPDX-License-Identifier: Apache-2.0
#include "fuse/trace.hpp"

#include "tests/support/expect.hpp"
#include "tests/support/temporary_directory.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

namespace penstock::fuse {
namespace {

using test::must;
using Clock = Trace::Clock;

std::vector<std::byte> contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<TraceRecord> records_in(const std::string& path) {
  const auto bytes = contents(path);
  const auto header = must(decode_trace_header(bytes));
  std::vector<TraceRecord> out;
  for (std::size_t at = header.header_bytes; at + kTraceRecordBytes <= bytes.size(); at += kTraceRecordBytes) {
    out.push_back(must(decode_trace_record(std::span(bytes).subspan(at, kTraceRecordBytes))));
  }
  return out;
}

TEST(TraceFormat, GivesBackWhatWasPutIn) {
  const TraceRecord record{.began = 1,
                           .offset = UINT64_MAX - 5,
                           .length = 3,
                           .nanoseconds = 1ULL << 40U,
                           .error = 28,
                           .thread = 513,
                           .kind = RequestKind::zero};
  EXPECT_EQ(must(decode_trace_record(encode(record))), record);
  const auto head = encode(TraceHeader{.virtual_size = 77, .started_at = 1234, .image = "/a b/ü.qcow2"});
  const auto header = must(decode_trace_header(head));
  EXPECT_EQ(header.virtual_size, 77U);
  EXPECT_EQ(header.started_at, 1234U);
  EXPECT_EQ(header.image, "/a b/ü.qcow2");
  EXPECT_EQ(header.header_bytes, head.size());
}

TEST(TraceFormat, RefusesWhatIsNoTrace) {
  auto head = encode(TraceHeader{.image = std::string(20000, 'x')});
  EXPECT_LE(head.size(), TraceHeader::kBytesMax);
  EXPECT_OK(decode_trace_header(head));
  for (std::size_t length = 0; length < head.size(); ++length) {
    EXPECT_FALSE(decode_trace_header(std::span(head).first(length))) << length;
  }
  for (const std::size_t field : {0, 16, 20, 24}) {
    auto damaged = head;
    damaged[field] = std::byte{0xff};
    EXPECT_FALSE(decode_trace_header(damaged)) << field;
  }
  auto record = encode(TraceRecord{});
  record[38] = std::byte{4};
  EXPECT_ERRNO(decode_trace_record(record), EUCLEAN);
}

TEST(Trace, EveryRequestIsRecordedOrCountedAsLost) {
  constexpr unsigned kThreads = 4;
  constexpr std::uint64_t kEach = 3 * Trace::kRingRecords;
  const test::TemporaryDirectory directory;
  const auto path = directory.file("trace");
  const auto trace = must(Trace::create(path, {}, UINT64_MAX));
  trace->start();
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&trace, thread] {
      for (std::uint64_t i = 0; i < kEach; ++i) trace->add(Clock::now(), {.offset = i, .length = thread});
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_OK(trace->finish());
  std::map<std::uint64_t, std::uint64_t> seen;  // by thread, as it called itself
  std::map<std::uint64_t, std::uint64_t> next;
  std::uint64_t lost = 0;
  for (const auto& record : records_in(path)) {
    if (record.lost) {
      lost += record.length;
      continue;
    }
    EXPECT_GE(record.offset, next[record.length]) << "a thread's records keep their order";
    next[record.length] = record.offset + 1;
    ++seen[record.length];
  }
  std::uint64_t all = lost;
  for (const auto& [thread, count] : seen) all += count;
  EXPECT_EQ(all, kThreads * kEach);
  EXPECT_EQ(seen.size(), kThreads);
  const auto described = trace->describe();
  EXPECT_EQ(described["lost"], lost);
  EXPECT_EQ(described["records"], all - lost);
}

TEST(Trace, EndsAtItsLimitWithAWholeRecord) {
  const test::TemporaryDirectory directory;
  const auto path = directory.file("trace");
  const auto trace = must(Trace::create(path, {}, 1000));
  trace->start();
  for (int i = 0; i < 100; ++i) trace->add(Clock::now(), {});
  EXPECT_OK(trace->finish());
  EXPECT_LE(std::filesystem::file_size(path), 1000U);
  EXPECT_EQ(records_in(path).size(), (1000 - encode(TraceHeader{}).size()) / kTraceRecordBytes);
  EXPECT_EQ(trace->describe()["state"], "full");
}

TEST(Trace, WritesOverNothingButATrace) {
  const test::TemporaryDirectory directory;
  const auto path = directory.file("file");
  std::ofstream(path) << "an image, say";
  EXPECT_ERRNO(Trace::create(path, {}, 1000), EEXIST);
  EXPECT_EQ(contents(path).size(), 13U);
  EXPECT_ERRNO(Trace::create("/dev/null", {}, 1000), EINVAL);
  EXPECT_FALSE(Trace::create(directory.path().string(), {}, 1000));
  std::filesystem::resize_file(path, 0);
  static_cast<void>(must(Trace::create(path, {.image = "first"}, 1000)));
  static_cast<void>(must(Trace::create(path, {.image = "second"}, 1000)));
  EXPECT_EQ(must(decode_trace_header(contents(path))).image, "second");
}

}  // namespace
}  // namespace penstock::fuse
