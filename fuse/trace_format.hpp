// SPDX-License-Identifier: Apache-2.0
/// The file that `mount --trace` writes: a header, then records of one size. Source: penstock-trace(1), "FILE FORMAT".
#pragma once

#include <penstock/error.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::fuse {

enum class RequestKind : std::uint8_t { read, write, flush, zero };
inline constexpr unsigned kRequestKinds = 4;
inline constexpr std::array<const char*, kRequestKinds> kRequestNames{"read", "write", "flush", "zero"};

/// Opens the file.
struct TraceHeader {
  std::uint64_t virtual_size = 0;  ///< of the disk, when it was mounted
  std::uint64_t started_at = 0;    ///< nanoseconds since 1970
  std::string image;               ///< path of the top layer
  std::uint32_t header_bytes = 0;  ///< where the first record lies; set by decode()
  static constexpr std::uint32_t kFixedBytes = 48;
  static constexpr std::uint32_t kBytesMax = 8192;  ///< a longer name is cut off
};

/// One request; or, with lost set, how many requests were not recorded since the record before.
struct TraceRecord {
  std::uint64_t began = 0;  ///< nanoseconds since the start
  std::uint64_t offset = 0;
  std::uint64_t length = 0;       ///< as it was asked for
  std::uint64_t nanoseconds = 0;  ///< how long it took
  std::uint32_t error = 0;        ///< errno; 0: it succeeded
  std::uint16_t thread = 0;
  RequestKind kind = RequestKind::read;
  bool lost = false;
  friend bool operator==(const TraceRecord&, const TraceRecord&) = default;
};

inline constexpr std::size_t kTraceRecordBytes = 40;
using TraceRecordBytes = std::array<std::byte, kTraceRecordBytes>;

[[nodiscard]] std::vector<std::byte> encode(const TraceHeader& header);
[[nodiscard]] TraceRecordBytes encode(const TraceRecord& record);

/// Whether a file that begins so is a trace.
[[nodiscard]] bool is_trace(std::span<const std::byte> head);
/// `head`: the first kBytesMax bytes of the file, or all of it. Errors: EINVAL for what is no trace, EPROTO for one of
/// another version.
[[nodiscard]] Result<TraceHeader> decode_trace_header(std::span<const std::byte> head);
/// `bytes` holds kTraceRecordBytes. Errors: EUCLEAN.
[[nodiscard]] Result<TraceRecord> decode_trace_record(std::span<const std::byte> bytes);

}  // namespace penstock::fuse
