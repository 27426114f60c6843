// SPDX-License-Identifier: Apache-2.0
#include <penstock/measure.hpp>

#include "base/text.hpp"
#include "image/copy_chunks.hpp"

namespace penstock {

namespace {

/// Bytes of whole clusters that hold something else than zeroes.
Result<std::uint64_t> used_bytes(Image& source, std::uint64_t cluster) {
  std::uint64_t used = 0;
  std::uint64_t counted_end = 0;
  const std::uint64_t size = source.virtual_size();
  for (std::uint64_t at = 0; at < size;) {
    const Extent extent = TRY(source.extent({{at}, size - at}));
    at = extent.guest.end().value;
    if (reads_zero(extent)) continue;
    const auto from = std::max(counted_end, align_down(extent.guest.offset.value, cluster));
    counted_end = align_up(at, cluster);
    used += counted_end - std::min(from, counted_end);
  }
  return used;
}

}  // namespace

Result<Measure> measure_image(std::string_view format, const std::map<std::string, std::string>& options, Image* source,
                              std::uint64_t size) {
  if (source != nullptr) size = source->virtual_size();
  if (size > INT64_MAX - (4U << 20U)) return fail(EFBIG, concat("size ", size, " is too large"));
  // The new image's own rules for its options, before anything is computed from them.
  NewImage request{.path = "measured", .format = std::string(format), .size = size, .check_backing = false};
  request.options = options;
  const Format* const made = TRY(find_format(format));
  if (!made->data_file_option.empty()) request.options.emplace(made->data_file_option, "measured.raw");
  static_cast<void>(TRY(create_image(request, true)));
  const Overhead overhead = TRY(made->overhead(options, align_up(size, 512)));
  const std::uint64_t all = align_up(align_up(size, 512), overhead.cluster_size);
  const bool whole = overhead.always_full || (source != nullptr && options.contains("backing_file"));
  const std::uint64_t used = whole               ? all
                             : source == nullptr ? 0
                                                 : std::min(all, TRY(used_bytes(*source, overhead.cluster_size)));
  return Measure{overhead.bytes + used, overhead.bytes + all};
}

}  // namespace penstock
