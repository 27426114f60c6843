// SPDX-License-Identifier: Apache-2.0
// Writing the header: whole, or a field at a time where one write must switch.
#include "format/qcow2/header.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace penstock::qcow2 {

namespace {

void encode_fields(const Header& header, std::uint64_t backing_offset, std::span<std::byte> out) {
  store_be(out, 0, kMagic);
  store_be(out, 4, header.version);
  store_be(out, 8, backing_offset);
  store_be(out, 16, static_cast<std::uint32_t>(header.backing_name.size()));
  store_be(out, 20, header.cluster_bits);
  store_be(out, 24, header.size);
  store_be(out, 32, header.crypt_method);
  store_be(out, 36, header.l1_entries);
  store_be(out, 40, header.l1_offset.value);
  store_be(out, 48, header.refcount_table_offset.value);
  store_be(out, 56, header.refcount_table_clusters);
  store_be(out, 60, header.snapshot_count);
  store_be(out, 64, header.snapshots_offset.value);
  if (header.version == 2) return;
  store_be(out, 72, header.incompatible);
  store_be(out, 80, header.compatible);
  store_be(out, 88, header.autoclear);
  store_be(out, 96, header.refcount_order);
}

/// Version 3: QEMU reads odd lengths, but the format wants multiples of 8, so that is what is written.
std::uint64_t encoded_length(const Header& header) {
  if (header.version == 2) return 72;
  return align_up(std::max(header.header_length, header.compression_type != 0 ? 112U : 104U), 8);
}

/// An L1 table or refcount table switch is one write, so that a crash leaves the old place and size or the new ones.
template <typename Fill>
Result<> write_switch(Storage& storage, HostOffset at, Fill fill) {
  std::array<std::byte, 12> bytes{};
  fill(std::span<std::byte>(bytes));
  return storage.write(at, bytes);
}

}  // namespace

Result<std::vector<std::byte>> encode_header(const Header& header) {
  const std::uint64_t length = encoded_length(header);
  std::uint64_t backing_offset = length + 8;  // the end marker
  for (const Extension& extension : header.extensions) backing_offset += 8 + align_up(extension.data.size(), 8);
  if (backing_offset + header.backing_name.size() > header.cluster_size()) {
    return fail(ENOSPC, concat("header, extensions and backing file name do not fit one cluster of ",
                               header.cluster_size(), " bytes; use a shorter name"));
  }
  if (header.backing_name.size() > 1023) return fail(EINVAL, "backing file name is longer than 1023 bytes");

  std::vector<std::byte> cluster(header.cluster_size());
  const std::span<std::byte> out(cluster);
  encode_fields(header, header.backing_name.empty() ? 0 : backing_offset, out);
  if (header.version >= 3) {
    store_be(out, 100, static_cast<std::uint32_t>(length));
    if (length > 104) store_be(out, 104, header.compression_type);
    std::ranges::copy(header.unknown_fields, out.begin() + 105);
  }
  std::uint64_t at = length;
  for (const Extension& extension : header.extensions) {
    store_be(out, at, extension.type);
    store_be(out, at + 4, static_cast<std::uint32_t>(extension.data.size()));
    std::ranges::copy(extension.data, out.begin() + static_cast<std::ptrdiff_t>(at + 8));
    at += 8 + align_up(extension.data.size(), 8);
  }
  std::ranges::copy(std::as_bytes(std::span(header.backing_name)),
                    out.begin() + static_cast<std::ptrdiff_t>(backing_offset));
  return cluster;
}

Result<> write_header_field(Storage& storage, HostOffset at, std::uint64_t value) {
  std::array<std::byte, 8> bytes{};
  store_be(std::span<std::byte>(bytes), 0, value);
  return storage.write(at, bytes);
}

Result<> write_l1_switch(Storage& storage, std::uint32_t entries, HostOffset offset) {
  return write_switch(storage, kL1Field, [&](std::span<std::byte> bytes) {
    store_be(bytes, 0, entries);
    store_be(bytes, 4, offset.value);
  });
}

Result<> write_refcount_table_switch(Storage& storage, HostOffset offset, std::uint32_t clusters) {
  return write_switch(storage, kRefcountTableField, [&](std::span<std::byte> bytes) {
    store_be(bytes, 0, offset.value);
    store_be(bytes, 8, clusters);
  });
}

}  // namespace penstock::qcow2
