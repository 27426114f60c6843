// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/header_change.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <optional>

namespace penstock::qcow2 {

namespace {

constexpr std::size_t kBackingNameMax = 1023;
constexpr std::size_t kBackingFormatMax = 15;  // QEMU's limit
constexpr std::uint64_t kSector = 512;         // what a disk writes wholly or not at all
constexpr std::uint32_t kAutoStartVersion = 1;
enum AutoStartBit : std::uint32_t { kCopyOnRead = 1U << 0U, kStream = 1U << 1U, kOpen = 1U << 2U };

bool is_type(const Extension& extension, ExtensionType type) {
  return extension.type == static_cast<std::uint32_t>(type);
}

void take_out(Header& header, ExtensionType type) {
  std::erase_if(header.extensions, [type](const Extension& extension) { return is_type(extension, type); });
}

/// In its old place, so that what follows does not move; a new one first, where it shares the fields' sector.
void put_in(Header& header, ExtensionType type, std::vector<std::byte> data) {
  for (Extension& extension : header.extensions) {
    if (!is_type(extension, type)) continue;
    extension.data = std::move(data);
    return;
  }
  header.extensions.insert(header.extensions.begin(), {static_cast<std::uint32_t>(type), std::move(data)});
}

/// One way to lay the new header out in its cluster.
struct Layout {
  std::vector<std::byte> cluster;
  HostRange name;            // as the fields say; empty without one
  HostRange changed;         // from the first byte that differs from the disk to the last, of all but the name
  bool name_is_free = true;  // the old header does not use the bytes of the name

  [[nodiscard]] bool in_one_sector() const {
    return changed.empty() || changed.offset.value / kSector == (changed.end().value - 1) / kSector;
  }
};

std::uint64_t extensions_end(std::span<const std::byte> cluster, const Header& header) {
  std::uint64_t end = (header.version == 2 ? 72 : load_be<std::uint32_t>(cluster, 100)) + 8;
  for (const Extension& extension : header.extensions) end += 8 + align_up(extension.data.size(), 8);
  return end;
}

HostRange name_range(std::span<const std::byte> cluster) {
  const auto offset = load_be<std::uint64_t>(cluster, 8);
  return {{offset}, offset == 0 ? 0 : load_be<std::uint32_t>(cluster, 16)};
}

Result<Layout> lay_out(std::span<const std::byte> on_disk, const Header& old, const Header& next) {
  Layout layout{.cluster = TRY(encode_header(next)), .name = {}, .changed = {}};
  const std::span<std::byte> out(layout.cluster);
  const HostRange extensions{{0}, extensions_end(out, next)};
  const HostRange used{{0}, extensions_end(on_disk, old)};
  const HostRange old_name = name_range(on_disk);
  const HostRange encoded = name_range(out);
  layout.name = encoded;
  const auto is_free = [&](HostRange range) { return !range.overlaps(used) && !range.overlaps(old_name); };
  const auto is_there = [&](HostRange range) {
    return range == old_name && std::ranges::equal(out.subspan(encoded.offset.value, encoded.length),
                                                   on_disk.subspan(range.offset.value, range.length));
  };
  if (!encoded.empty()) {
    const auto behind = align_up(std::max({used.length, old_name.end().value, extensions.length}), 8);
    for (const HostOffset place : {old_name.offset, encoded.offset, HostOffset{behind}}) {
      const HostRange name{place, encoded.length};
      if (name.overlaps(extensions) || !fits(place.value, name.length, out.size())) continue;
      if (!is_there(name) && !is_free(name)) continue;
      const std::vector<std::byte> text(out.begin() + static_cast<std::ptrdiff_t>(encoded.offset.value),
                                        out.begin() + static_cast<std::ptrdiff_t>(encoded.end().value));
      std::ranges::fill(out.subspan(encoded.offset.value, encoded.length), std::byte{0});
      std::ranges::copy(text, out.begin() + static_cast<std::ptrdiff_t>(place.value));
      store_be(out, 8, place.value);
      layout.name = name;
      break;
    }
    layout.name_is_free = is_there(layout.name) || is_free(layout.name);
  }
  const auto fields = std::span<const std::byte>(out).first(extensions.length);
  const auto [first, ignored] = std::ranges::mismatch(fields, on_disk.first(fields.size()));
  auto end = fields.size();
  const auto begin = static_cast<std::size_t>(first - fields.begin());
  while (end > begin && fields[end - 1] == on_disk[end - 1]) --end;
  layout.changed = {{begin}, end - begin};
  return layout;
}

/// Ways to say the same, the tidiest first.
std::vector<Header> variants(const Header& old, const Header& next) {
  std::vector<Header> ways{next};
  // Without a name the format of the backing file says nothing, so it may stay; nor do flags that are 0.
  Header stays = next;
  bool differs = false;
  for (const auto type : {ExtensionType::backing_format, ExtensionType::auto_start}) {
    const Extension* const was = old.extension(type);
    if (was == nullptr || next.extension(type) != nullptr) continue;
    if (type == ExtensionType::backing_format && !next.backing_name.empty()) continue;
    const auto at = was - old.extensions.data();
    auto data = was->data;
    if (type == ExtensionType::auto_start && data.size() >= 8) store_be(std::span(data), 4, 0U);
    stays.extensions.insert(stays.extensions.begin() + std::min<std::ptrdiff_t>(at, std::ssize(stays.extensions)),
                            {was->type, std::move(data)});
    differs = true;
  }
  if (differs) ways.push_back(stays);
  // The names of feature bits are for messages alone, and QEMU puts them back when it writes the header.
  for (std::size_t way = ways.size(); way-- > 0;) {
    Header without = ways[way];
    take_out(without, ExtensionType::feature_names);
    if (without.extensions.size() != ways[way].extensions.size()) ways.push_back(std::move(without));
  }
  return ways;
}

std::uint32_t flags_of(const Header& header) {
  const Extension* const found = header.extension(ExtensionType::auto_start);
  // What a later version means is not for us to guess.
  if (found == nullptr || found->data.size() < 8) return 0;
  if (load_be<std::uint32_t>(found->data, 0) != kAutoStartVersion) return 0;
  return load_be<std::uint32_t>(found->data, 4);
}

}  // namespace

Result<Header> with_backing(const Header& header, const BackingReference& backing) {
  if (backing.name.size() > kBackingNameMax) {
    return fail(ENAMETOOLONG, concat("backing file name is longer than ", kBackingNameMax, " bytes"));
  }
  if (backing.format.size() > kBackingFormatMax) {
    return fail(ENOTSUP, concat("backing format name is longer than ", kBackingFormatMax, " bytes"));
  }
  if (!backing.name.empty() && header.raw_data_file()) {
    return fail(EINVAL, "an image with a raw external data file cannot have a backing file");
  }
  Header next = header;
  next.backing_name = backing.name;
  if (backing.name.empty() || backing.format.empty()) {
    take_out(next, ExtensionType::backing_format);
  } else {
    const auto text = std::as_bytes(std::span(backing.format));
    put_in(next, ExtensionType::backing_format, {text.begin(), text.end()});
  }
  return next;
}

Header with_open_flag(const Header& header, bool open) {
  Header next = header;
  const auto flags = flags_of(header) & ~std::uint32_t{kOpen};
  if (flags == 0) return next;  // nothing streams it
  std::vector<std::byte> data(8);
  store_be(std::span(data), 0, kAutoStartVersion);
  store_be(std::span(data), 4, flags | (open ? std::uint32_t{kOpen} : 0U));
  put_in(next, ExtensionType::auto_start, std::move(data));
  return next;
}

bool has_open_flag(const Header& header) {
  return (flags_of(header) & kOpen) != 0;
}

Header with_auto_start(const Header& header, AutoStart start) {
  Header next = header;
  if (start == AutoStart{}) {
    take_out(next, ExtensionType::auto_start);
    return next;
  }
  std::vector<std::byte> data(8);
  store_be(std::span(data), 0, kAutoStartVersion);
  store_be(std::span(data), 4,
           (start.copy_on_read ? std::uint32_t{kCopyOnRead} : 0U) | (start.stream ? std::uint32_t{kStream} : 0U));
  put_in(next, ExtensionType::auto_start, std::move(data));
  return next;
}

AutoStart auto_start_of(const Header& header) {
  const auto flags = flags_of(header);
  return {(flags & kCopyOnRead) != 0, (flags & kStream) != 0};
}

/// Old or new, no third: a new name goes where the old header has nothing, and is durable before the fields name it.
/// Fields and extensions then change with one write inside one 512-byte sector, which a disk writes wholly or not at
/// all. Only an image full of foreign extensions needs more than a sector; it gets one write too, from the first byte
/// that changes to the last, which lies in one page of the file.
Result<Header> replace_header(Storage& storage, const Header& old, const Header& next) {
  std::vector<std::byte> on_disk(old.cluster_size());
  TRY(storage.read({0}, on_disk));
  std::optional<Layout> best;
  Header written;
  for (const Header& way : variants(old, next)) {
    auto layout = lay_out(on_disk, old, way);
    if (!layout && !best) return Failure(layout.error());
    if (!layout) continue;
    const bool atomic = layout->name_is_free && layout->in_one_sector();
    if (!atomic && best) continue;
    best = std::move(*layout);
    written = way;
    if (atomic) break;
  }
  const std::span<const std::byte> bytes(best->cluster);
  const auto part = [&](HostRange range) { return bytes.subspan(range.offset.value, range.length); };
  if (!best->name.empty() && best->name_is_free) {
    TRY(storage.write(best->name.offset, part(best->name)));
    TRY(storage.flush());
  } else if (!best->name.empty()) {
    const auto end = std::max(best->changed.end(), best->name.end());
    const auto from = best->changed.empty() ? best->name.offset : std::min(best->changed.offset, best->name.offset);
    best->changed = {from, end - from};
  }
  if (!best->changed.empty()) TRY(storage.write(best->changed.offset, part(best->changed)));
  TRY(storage.flush());
  written.header_length = written.version == 2 ? 72 : load_be<std::uint32_t>(bytes, 100);
  return written;
}

}  // namespace penstock::qcow2
