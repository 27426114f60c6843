// SPDX-License-Identifier: Apache-2.0
/// Reading what `mount --trace` wrote.
#pragma once

#include "cli/request_facts.hpp"

#include "fuse/trace_format.hpp"

#include <functional>
#include <memory>
#include <string>

namespace penstock::cli {

/// One file, read as often as wanted. Nothing in it is trusted; a file that grows, or ends within a record, is read up
/// to its last whole record. Memory: the same for a trace of any length. Threads: one at a time.
class TraceFile {
 public:
  [[nodiscard]] static Result<TraceFile> open(const std::string& path);

  [[nodiscard]] const fuse::TraceHeader& header() const noexcept { return header_; }
  /// All records, in the order in which the requests began (as far as the threads that wrote them kept step; what came
  /// very late stands where it was found). Errors: EUCLEAN, EIO.
  [[nodiscard]] Result<> for_each(const std::function<void(const fuse::TraceRecord&)>& take);

 private:
  struct Close {
    void operator()(std::FILE* file) const { static_cast<void>(std::fclose(file)); }
  };
  TraceFile(std::string path, std::unique_ptr<std::FILE, Close> file, fuse::TraceHeader header)
      : path_(std::move(path)), file_(std::move(file)), header_(std::move(header)) {}

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  fuse::TraceHeader header_;
};

/// What a trace amounts to.
struct TraceSummary {
  std::uint64_t records = 0;
  std::uint64_t lost = 0;
  unsigned threads = 0;
  std::uint64_t began = 0;                ///< the first request, nanoseconds since the start of the trace
  std::uint64_t ended = 0;                ///< the last answer
  std::uint64_t end_of_disk = 0;          ///< the virtual size, or the end of the last request if that is behind it
  std::vector<RequestFacts> kinds;        ///< read, write, flush, zero
  std::vector<std::uint64_t> sequential;  ///< of each kind: requests that began where the one before had ended

  [[nodiscard]] double seconds() const { return static_cast<double>(ended - began) / 1e9; }
};
[[nodiscard]] Result<TraceSummary> summarise(TraceFile& trace);

}  // namespace penstock::cli
