// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/snapshots.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

#include <array>

namespace penstock::qcow2 {

namespace {

constexpr std::size_t kFixedBytes = 40;
/// Id and name are 16-bit lengths: one entry is never longer than this.
constexpr std::size_t kEntryBytesMax = kFixedBytes + kSnapshotExtraMax + 2 * 65535;

using Bytes = std::span<const std::byte>;

std::string as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The part of the table around the entry being decoded; the table itself may be 64 MiB.
class Window {
 public:
  Window(Storage& storage, HostOffset table, std::uint64_t limit) : storage_(storage), table_(table), limit_(limit) {}

  /// `length` bytes at `at`; fails when they reach past what the table may fill.
  Result<Bytes> take(std::uint64_t at, std::size_t length) {
    if (!fits(at, length, limit_)) return corrupt("snapshot table reaches past the end of the file or is too large");
    if (at < first_ || at + length > first_ + buffer_.size()) {
      first_ = at;
      buffer_.resize(std::min<std::uint64_t>(std::max<std::uint64_t>(length, kReadBytes), limit_ - at));
      TRY(storage_.read(table_ + at, buffer_));
    }
    return Bytes(buffer_).subspan(at - first_, length);
  }

 private:
  static constexpr std::uint64_t kReadBytes = 256U << 10U;
  static_assert(kReadBytes > kEntryBytesMax);

  Storage& storage_;
  const HostOffset table_;
  const std::uint64_t limit_;
  std::uint64_t first_ = 0;
  std::vector<std::byte> buffer_;
};

void decode_extra(Bytes extra, const Header& header, SnapshotInfo& info) {
  info.virtual_size = header.virtual_size();
  if (extra.size() >= 8) info.vm_state_size = load_be<std::uint64_t>(extra, 0);
  if (extra.size() >= 16) info.virtual_size = load_be<std::uint64_t>(extra, 8);
  if (extra.size() >= 24 && load_be<std::uint64_t>(extra, 16) != UINT64_MAX) {
    info.icount = load_be<std::uint64_t>(extra, 16);
  }
}

Result<> check_l1(const Header& header, const Snapshot& snapshot, std::size_t index) {
  if (snapshot.l1_entries > kL1EntriesMax) {
    return fail(EFBIG, concat("snapshot ", index, ": L1 table of ", snapshot.l1_entries, " entries is too large"));
  }
  const auto offset = snapshot.l1_offset.value;
  if (!is_aligned(offset, header.cluster_size()) || !fits(offset, std::uint64_t{snapshot.l1_entries} * 8, INT64_MAX)) {
    return corrupt(
        concat("snapshot ", index, ": L1 table at ", hex(offset), " is not cluster aligned or too far away"));
  }
  return {};
}

}  // namespace

Result<SnapshotTable> read_snapshots(Storage& storage, const Header& header, SnapshotPlaces places) {
  SnapshotTable table;
  if (header.snapshot_count == 0) return table;
  const std::uint64_t file_size = TRY(storage.size());
  const std::uint64_t start = header.snapshots_offset.value;
  const std::uint64_t room = start < file_size ? file_size - start : 0;
  Window window(storage, header.snapshots_offset, std::min(room, kSnapshotTableBytesMax));
  std::uint64_t at = 0;
  for (std::uint32_t index = 0; index < header.snapshot_count; ++index) {
    at = align_up(at, 8);
    const Bytes fixed = TRY(window.take(at, kFixedBytes));
    Snapshot snapshot;
    snapshot.l1_offset = {load_be<std::uint64_t>(fixed, 0)};
    snapshot.l1_entries = load_be<std::uint32_t>(fixed, 8);
    const std::size_t id_bytes = load_be<std::uint16_t>(fixed, 12);
    const std::size_t name_bytes = load_be<std::uint16_t>(fixed, 14);
    snapshot.info.date_seconds = load_be<std::uint32_t>(fixed, 16);
    snapshot.info.date_nanoseconds = load_be<std::uint32_t>(fixed, 20);
    snapshot.info.vm_clock_nanoseconds = load_be<std::uint64_t>(fixed, 24);
    snapshot.info.vm_state_size = load_be<std::uint32_t>(fixed, 32);
    snapshot.extra_bytes = load_be<std::uint32_t>(fixed, 36);
    if (snapshot.extra_bytes > kSnapshotExtraMax) {
      return corrupt(concat("snapshot ", index, " has ", snapshot.extra_bytes, " bytes of extra data, more than ",
                            kSnapshotExtraMax));
    }
    const Bytes rest = TRY(window.take(at + kFixedBytes, snapshot.extra_bytes + id_bytes + name_bytes));
    decode_extra(rest.first(snapshot.extra_bytes), header, snapshot.info);
    snapshot.info.id = as_text(rest.subspan(snapshot.extra_bytes, id_bytes));
    snapshot.info.name = as_text(rest.last(name_bytes));
    if (places == SnapshotPlaces::valid) TRY(check_l1(header, snapshot, index));
    at += kFixedBytes + rest.size();
    table.snapshots.push_back(std::move(snapshot));
  }
  table.bytes = at;
  return table;
}

}  // namespace penstock::qcow2
