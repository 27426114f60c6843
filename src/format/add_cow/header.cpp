// SPDX-License-Identifier: Apache-2.0
#include "format/add_cow/header.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace penstock::add_cow {

namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kNameMax = 4095;  // no path of the host is longer

std::string text_at(Bytes bytes, std::size_t offset, std::size_t length) {
  const Bytes part = bytes.subspan(offset, length);
  return {reinterpret_cast<const char*>(part.data()), part.size()};
}

/// A name of the names area; empty when its offset is 0.
Result<std::string> read_name(Bytes header, std::size_t field, std::string_view what) {
  const auto offset = load_le<std::uint32_t>(header, field);
  const auto size = load_le<std::uint32_t>(header, field + 4);
  if (offset == 0 && size == 0) return std::string();
  if (offset < kFixedBytes || size == 0 || !fits(offset, size, header.size())) {
    return fail(EINVAL,
                concat("add-cow header: ", what, " name at ", offset, ", ", size, " bytes, is not inside the header"));
  }
  if (size > kNameMax) {
    return fail(EINVAL, concat("add-cow header: ", what, " name of ", size, " bytes is longer than ", kNameMax));
  }
  std::string name = text_at(header, offset, size);
  if (name.find('\0') != std::string::npos) {
    return fail(EINVAL, concat("add-cow header: the ", what, " name contains a NUL"));
  }
  return name;
}

Result<std::string> read_format(Bytes header, std::size_t field, std::string_view what) {
  const std::string bytes = text_at(header, field, kFormatBytes);
  const auto end = bytes.find('\0');
  if (end == std::string::npos) {
    return fail(EINVAL, concat("add-cow header: the ", what, " format is not terminated"));
  }
  return bytes.substr(0, end);
}

std::vector<HostRange> stray_bytes_of(Bytes header) {
  std::vector<bool> named(header.size());
  for (const std::size_t field : {kBackingNameField, kImageNameField}) {
    const std::size_t offset = load_le<std::uint32_t>(header, field);
    const std::size_t size = load_le<std::uint32_t>(header, field + 4);
    for (std::size_t at = offset; at < offset + size; ++at) named[at] = true;
  }
  std::vector<HostRange> stray;
  for (std::size_t at = kFixedBytes; at < header.size(); ++at) {
    if (named[at] || header[at] == std::byte{0}) continue;
    if (stray.empty() || stray.back().end().value != at) stray.push_back({{at}, 0});
    ++stray.back().length;
  }
  return stray;
}

}  // namespace

Result<> Header::check_size(std::uint64_t virtual_size) const {
  if (divide_up(clusters(virtual_size), 8) <= kBitmapBytesMax) return {};
  return fail(EFBIG, concat("a disk of ", virtual_size, " bytes has too many clusters of ", cluster_size(),
                            " bytes; add-cow images as large as this need larger clusters"));
}

Result<Header> read_header(Storage& storage) {
  std::array<std::byte, kFixedBytes> fixed{};
  const Bytes in(fixed);
  const std::uint64_t file_size = TRY(storage.size());
  TRY(storage.read({0}, fixed));
  if (file_size < kFixedBytes || load_le<std::uint32_t>(in, 0) != kMagic) {
    return fail(EINVAL, "not an add-cow image");
  }
  if (const auto features = load_le<std::uint64_t>(in, 24); features != 0) {
    return fail(ENOTSUP, concat("add-cow image uses unknown features ", hex(features), "; a newer program made it"));
  }
  Header header;
  header.cluster_bits = load_le<std::uint32_t>(in, 20);
  if (header.cluster_bits < kClusterBitsMin || header.cluster_bits > kClusterBitsMax) {
    return fail(EINVAL, concat("add-cow header: cluster_bits ", header.cluster_bits, " is not 12 to 21"));
  }
  if (const auto size = load_le<std::uint32_t>(in, 40); size != header.bitmap_offset()) {
    return fail(ENOTSUP, concat("add-cow header: header size ", size, " is not ", header.bitmap_offset()));
  }
  header.compatible = load_le<std::uint64_t>(in, 32);
  std::vector<std::byte> area(header.bitmap_offset());
  TRY(storage.read({0}, area));
  header.backing.name = TRY(read_name(area, 4, "backing file"));
  header.image_name = TRY(read_name(area, 12, "image file"));
  header.backing.format = TRY(read_format(area, 44, "backing"));
  header.image_format = TRY(read_format(area, 60, "image"));
  header.stray_bytes = stray_bytes_of(area);
  if (header.image_name.empty()) return fail(EINVAL, "add-cow header: the name of the image file is missing");
  if (!header.backing.name.empty() && header.backing.format.empty()) {
    return fail(EINVAL, "add-cow header: the backing file has a name but no format");
  }
  if (header.image_format != "raw") {
    return fail(ENOTSUP, concat("add-cow image file of format '", printable(header.image_format),
                                "'; only raw can be used alone afterwards"));
  }
  return header;
}

Result<std::vector<std::byte>> encode_header(const Header& header) {
  std::vector<std::byte> bytes(header.bitmap_offset());
  const std::span<std::byte> out(bytes);
  const auto put_text = [&](std::size_t at, std::string_view text) {
    std::ranges::copy(std::as_bytes(std::span(text)), out.begin() + static_cast<std::ptrdiff_t>(at));
  };
  const std::uint64_t names = kFixedBytes + header.backing.name.size() + header.image_name.size();
  if (names > bytes.size()) return fail(ENOSPC, "the names do not fit the header");
  if (std::max(header.backing.name.size(), header.image_name.size()) > kNameMax) {
    return fail(ENAMETOOLONG, concat("a file name is longer than ", kNameMax, " bytes"));
  }
  if (header.backing.format.size() >= kFormatBytes) return fail(EINVAL, "the backing format's name is too long");
  store_le(out, 0, kMagic);
  if (!header.backing.name.empty()) {
    store_le(out, 4, static_cast<std::uint32_t>(kFixedBytes));
    store_le(out, 8, static_cast<std::uint32_t>(header.backing.name.size()));
    put_text(44, header.backing.format);
    put_text(kFixedBytes, header.backing.name);
  }
  store_le(out, 12, static_cast<std::uint32_t>(kFixedBytes + header.backing.name.size()));
  store_le(out, 16, static_cast<std::uint32_t>(header.image_name.size()));
  store_le(out, 20, header.cluster_bits);
  store_le(out, 24, std::uint64_t{0});
  store_le(out, 32, header.compatible);
  store_le(out, 40, static_cast<std::uint32_t>(header.bitmap_offset()));
  put_text(60, header.image_format);
  put_text(kFixedBytes + header.backing.name.size(), header.image_name);
  return bytes;
}

Result<> set_all_bits(Storage& storage, const Header& header, std::uint64_t virtual_size) {
  const std::uint64_t clusters = header.clusters(virtual_size);
  const std::vector<std::byte> ones(std::min<std::uint64_t>(clusters / 8, 1U << 20U), std::byte{0xff});
  std::uint64_t done = 0;
  while (done < clusters / 8) {
    const auto piece = std::min<std::uint64_t>(ones.size(), clusters / 8 - done);
    TRY(storage.write({header.bitmap_offset() + done}, std::span(ones).first(piece)));
    done += piece;
  }
  const std::array<std::byte, 1> rest{static_cast<std::byte>((1U << (clusters % 8)) - 1)};
  if (clusters % 8 == 0) return {};
  return storage.write({header.bitmap_offset() + done}, rest);
}

Result<> write_compatible(Storage& storage, std::uint64_t compatible) {
  std::array<std::byte, 8> bytes{};
  store_le(std::span<std::byte>(bytes), 0, compatible);
  return storage.write(kCompatibleField, bytes);
}

}  // namespace penstock::add_cow
