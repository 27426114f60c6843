// SPDX-License-Identifier: Apache-2.0
#include "fuse/trace_format.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cstring>

namespace penstock::fuse {

namespace {

constexpr std::string_view kMagic{"penstock trace\n\0", 16};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint8_t kLost = 255;
constexpr std::size_t kAlignment = 8;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::vector<std::byte> encode(const TraceHeader& header) {
  const auto room = TraceHeader::kBytesMax - TraceHeader::kFixedBytes - kAlignment;
  const auto name = std::string_view(header.image).substr(0, room);
  // At least one zero byte ends the name.
  const auto length = (TraceHeader::kFixedBytes + name.size() + kAlignment) / kAlignment * kAlignment;
  std::vector<std::byte> out(length);
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  store_le(std::span(out), 16, kVersion);
  store_le(std::span(out), 20, static_cast<std::uint32_t>(length));
  store_le(std::span(out), 24, static_cast<std::uint32_t>(kTraceRecordBytes));
  store_le(std::span(out), 32, header.virtual_size);
  store_le(std::span(out), 40, header.started_at);
  std::memcpy(out.data() + TraceHeader::kFixedBytes, name.data(), name.size());
  return out;
}

TraceRecordBytes encode(const TraceRecord& record) {
  TraceRecordBytes out{};
  store_le(std::span<std::byte>(out), 0, record.began);
  store_le(std::span<std::byte>(out), 8, record.offset);
  store_le(std::span<std::byte>(out), 16, record.length);
  store_le(std::span<std::byte>(out), 24, record.nanoseconds);
  store_le(std::span<std::byte>(out), 32, record.error);
  store_le(std::span<std::byte>(out), 36, record.thread);
  out[38] = std::byte{record.lost ? kLost : static_cast<std::uint8_t>(record.kind)};
  return out;
}

bool is_trace(std::span<const std::byte> head) {
  return text_of(head).starts_with(kMagic);
}

Result<TraceHeader> decode_trace_header(std::span<const std::byte> head) {
  if (!is_trace(head)) return fail(EINVAL, "is no file that 'penstock mount --trace' has written");
  if (head.size() < TraceHeader::kFixedBytes) return corrupt("the trace ends within its header");
  const auto version = load_le<std::uint32_t>(head, 16);
  if (version != kVersion) {
    return fail(EPROTO, concat("the trace has version ", version, "; this program knows version ", kVersion));
  }
  TraceHeader out{.virtual_size = load_le<std::uint64_t>(head, 32),
                  .started_at = load_le<std::uint64_t>(head, 40),
                  .image = {},
                  .header_bytes = load_le<std::uint32_t>(head, 20)};
  if (out.header_bytes < TraceHeader::kFixedBytes || out.header_bytes > TraceHeader::kBytesMax ||
      out.header_bytes > head.size() || load_le<std::uint32_t>(head, 24) != kTraceRecordBytes) {
    return corrupt("the sizes in the trace's header make no sense");
  }
  const auto name = text_of(head.subspan(TraceHeader::kFixedBytes, out.header_bytes - TraceHeader::kFixedBytes));
  out.image = name.substr(0, name.find('\0'));
  return out;
}

Result<TraceRecord> decode_trace_record(std::span<const std::byte> bytes) {
  const auto kind = std::to_integer<std::uint8_t>(bytes[38]);
  if (kind >= kRequestKinds && kind != kLost) return corrupt(concat("unknown kind of request ", kind));
  return TraceRecord{.began = load_le<std::uint64_t>(bytes, 0),
                     .offset = load_le<std::uint64_t>(bytes, 8),
                     .length = load_le<std::uint64_t>(bytes, 16),
                     .nanoseconds = load_le<std::uint64_t>(bytes, 24),
                     .error = load_le<std::uint32_t>(bytes, 32),
                     .thread = load_le<std::uint16_t>(bytes, 36),
                     .kind = kind == kLost ? RequestKind::read : static_cast<RequestKind>(kind),
                     .lost = kind == kLost};
}

}  // namespace penstock::fuse
