// SPDX-License-Identifier: Apache-2.0
// A recording of requests, which may come from anybody: `penstock trace` in all its forms.
#include "tests/fuzz/fuzz.hpp"

#include "base/text.hpp"
#include "cli/trace_file.hpp"
#include "cli/trace_svg.hpp"

#include <sys/mman.h>
#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock;
  static const int file = memfd_create("trace", MFD_CLOEXEC);
  fuzz::demand(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == static_cast<ssize_t>(size), "memory");
  auto trace = cli::TraceFile::open(concat("/proc/self/fd/", file));
  if (!fuzz::told(trace)) return 0;
  const auto summary = cli::summarise(*trace);
  if (!fuzz::told(summary)) return 0;
  fuzz::demand(summary->ended >= summary->began, "time goes on");
  cli::TracePicture picture(*summary);
  const auto again = trace->for_each([&picture](const fuse::TraceRecord& record) { picture.add(record); });
  fuzz::demand(again.has_value(), "what was read once can be read again");
  const auto svg = picture.svg(trace->header().image);
  fuzz::demand(svg.find("nan") == std::string::npos || trace->header().image.contains("nan"), "numbers are numbers");
  static_cast<void>(cli::describe_latencies(summary->kinds, 80, false));
  return 0;
}
