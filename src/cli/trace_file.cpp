// SPDX-License-Identifier: Apache-2.0
#include "cli/trace_file.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <map>
#include <queue>
#include <set>

namespace penstock::cli {

namespace {

using fuse::TraceRecord;

struct LaterFirst {
  bool operator()(const TraceRecord& a, const TraceRecord& b) const { return a.began > b.began; }
};

/// The end of the latency's step: powers of two, each split in four, as the daemon counts.
std::uint64_t step_of(std::uint64_t nanoseconds) {
  if (nanoseconds < 8) return nanoseconds;
  const auto quarter = std::bit_floor(nanoseconds) / 4;
  return nanoseconds / quarter * quarter + (quarter - 1);
}

}  // namespace

Result<TraceFile> TraceFile::open(const std::string& path) {
  std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rbe"));
  if (!file) return system_failure(path);
  std::array<std::byte, fuse::TraceHeader::kBytesMax> head{};
  const auto got = std::fread(head.data(), 1, head.size(), file.get());
  if (std::ferror(file.get()) != 0) return system_failure(path);
  auto header = fuse::decode_trace_header(std::span(head).first(got));
  if (!header) return Failure(header.error().in(path));
  return TraceFile(path, std::move(file), *std::move(header));
}

Result<> TraceFile::for_each(const std::function<void(const TraceRecord&)>& take) {
  // More than the daemon has in its hands at one time.
  constexpr std::size_t kWindow = 1U << 18U;
  if (std::fseek(file_.get(), static_cast<long>(header_.header_bytes), SEEK_SET) != 0) return system_failure(path_);
  std::priority_queue<TraceRecord, std::vector<TraceRecord>, LaterFirst> window;
  const auto give = [&] {
    take(window.top());
    window.pop();
  };
  fuse::TraceRecordBytes bytes{};
  while (std::fread(bytes.data(), 1, bytes.size(), file_.get()) == bytes.size()) {
    const auto record = fuse::decode_trace_record(bytes);
    if (!record) return Failure(record.error().in(path_));
    window.push(*record);
    if (window.size() > kWindow) give();
  }
  if (std::ferror(file_.get()) != 0) return system_failure(path_);
  std::clearerr(file_.get());
  while (!window.empty()) give();
  return {};
}

Result<TraceSummary> summarise(TraceFile& trace) {
  TraceSummary out{.began = UINT64_MAX, .end_of_disk = trace.header().virtual_size, .kinds = {}, .sequential = {}};
  std::array<std::map<std::uint64_t, std::uint64_t>, fuse::kRequestKinds> steps;
  std::array<std::uint64_t, fuse::kRequestKinds> next_offset{};
  std::set<unsigned> threads;
  out.sequential.resize(fuse::kRequestKinds);
  for (const char* name : fuse::kRequestNames) out.kinds.push_back({.kind = name, .steps = {}});
  TRY(trace.for_each([&](const TraceRecord& record) {
    if (record.lost) return void(out.lost += record.length);
    const auto kind = static_cast<std::size_t>(record.kind);
    auto& facts = out.kinds[kind];
    ++out.records;
    ++facts.requests;
    facts.nanoseconds += record.nanoseconds;
    facts.max = std::max(facts.max, record.nanoseconds);
    if (record.error == 0) facts.bytes += record.length;
    if (record.error != 0) ++facts.errors;
    ++steps[kind][step_of(record.nanoseconds)];
    threads.insert(record.thread);
    out.began = std::min(out.began, record.began);
    out.ended = std::max(out.ended, record.began + record.nanoseconds);
    if (facts.requests > 1 && record.offset == next_offset[kind]) ++out.sequential[kind];
    next_offset[kind] = record.offset + record.length;
    if (next_offset[kind] >= record.offset) out.end_of_disk = std::max(out.end_of_disk, next_offset[kind]);
  }));
  out.threads = static_cast<unsigned>(threads.size());
  if (out.records == 0) out.began = 0;
  out.ended = std::max(out.ended, out.began);
  for (std::size_t kind = 0; kind < steps.size(); ++kind) {
    for (const auto& [below, count] : steps[kind]) out.kinds[kind].steps.push_back({below, count});
  }
  return out;
}

}  // namespace penstock::cli
