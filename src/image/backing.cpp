// SPDX-License-Identifier: Apache-2.0
#include "image/backing.hpp"

#include "base/text.hpp"
#include "image/named.hpp"

#include <algorithm>
#include <cstring>

namespace penstock {

Result<> Backing::read(GuestOffset offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const auto run = TRY(map_.find({offset, out.size()}));
    std::uint64_t done = run.length;
    const auto part = out.first(run.length);
    switch (run.kind) {
      case FlatKind::nothing:
      case FlatKind::zero:
        std::memset(part.data(), 0, part.size());
        break;
      case FlatKind::data:
        TRY(in_layer(*layers_[run.depth], run.file->read(run.host_offset, part)));
        break;
      case FlatKind::compressed:
      case FlatKind::ask:
        done = TRY(read_asking(run.depth, offset, part));
        break;
    }
    offset += done;
    out = out.subspan(done);
  }
  return {};
}

Result<std::uint64_t> Backing::read_asking(unsigned depth, GuestOffset offset, std::span<std::byte> out) {
  const auto answer = TRY(ask_layers(layers_, depth, {offset, out.size()}));
  const auto& mapping = answer.mapping;
  const auto& layer = *layers_[answer.depth];
  const auto part = out.first(mapping.length);
  switch (mapping.kind) {
    case MappingKind::unallocated:
    case MappingKind::zero:
      std::memset(part.data(), 0, part.size());
      break;
    case MappingKind::data:
      TRY(in_layer(layer, mapping.storage->read(mapping.host_offset, part)));
      break;
    case MappingKind::compressed:
      TRY(in_layer(layer, unpacked_.read(answer.depth, *layer.driver, mapping, offset, part)));
      break;
  }
  return mapping.length;
}

Result<Backing::Content> Backing::content(GuestRange range, Ask ask) {
  const auto run = TRY(map_.find(range));
  if (run.kind == FlatKind::nothing || run.kind == FlatKind::zero) return Content{true, run.length};
  if (run.kind != FlatKind::data || ask == Ask::maps) return Content{false, run.length};
  const auto& layer = *layers_[run.depth];
  if (!tells_holes(layer, *run.file)) return Content{false, run.length};
  const auto hole = TRY(in_layer(layer, run.file->extent(run.host_offset)));
  // Length 0: at or behind the end of the file, which reads as zero.
  if (hole.length == 0) return Content{true, run.length};
  return Content{!hole.data, std::min(run.length, hole.length)};
}

Result<bool> Backing::reads_zero(GuestRange range) {
  while (!range.empty()) {
    const auto part = TRY(content(range));
    if (!part.zero) return false;
    range = {range.offset + part.length, range.length - part.length};
  }
  return true;
}

}  // namespace penstock
