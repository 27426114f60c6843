// SPDX-License-Identifier: Apache-2.0
#include <penstock/measure.hpp>

#include "base/text.hpp"
#include "format/option_values.hpp"
#include "image/copy_chunks.hpp"

namespace penstock {

namespace {

/// What a format needs besides the clusters themselves, when all of them are there.
struct Overhead {
  std::uint64_t cluster_size = 1;
  std::uint64_t bytes = 0;
  bool always_full = false;  ///< zeroes count too
};

/// Source: QEMU's qcow2_calc_prealloc_size(), which the answer is compared with.
Result<Overhead> qcow2_overhead(const OptionMap& options, std::uint64_t size) {
  const std::uint64_t cluster = TRY(option_size(options, "cluster_size", 65536));
  const std::uint64_t refcount_bits = TRY(option_size(options, "refcount_bits", 16));
  const std::uint64_t entry_bytes = TRY(option_switch(options, "extended_l2")) ? 16 : 8;
  const std::uint64_t data = align_up(size, cluster) / cluster;
  const std::uint64_t l2 = divide_up(data, cluster / entry_bytes);
  const std::uint64_t l1 = divide_up(l2, cluster / 8);
  const std::uint64_t counted = 1 + l2 + l1 + data;
  std::uint64_t blocks = 0;
  std::uint64_t table = 0;
  for (std::uint64_t before = ~0ULL; blocks + table != before;) {
    before = blocks + table;
    blocks = divide_up(counted + before, cluster * 8 / refcount_bits);
    table = divide_up(blocks, cluster / 8);
  }
  const auto preallocation = option_text(options, "preallocation", "off");
  return Overhead{cluster, (1 + l2 + l1 + blocks + table) * cluster,
                  preallocation == "falloc" || preallocation == "full"};
}

Result<Overhead> qed_overhead(const OptionMap& options, std::uint64_t size) {
  const std::uint64_t cluster = TRY(option_size(options, "cluster_size", 65536));
  const std::uint64_t table = TRY(option_size(options, "table_size", 4)) * cluster;
  const std::uint64_t l2 = divide_up(divide_up(size, cluster), table / 8);
  return Overhead{cluster, cluster + (1 + l2) * table, false};
}

Result<Overhead> add_cow_overhead(const OptionMap& options, std::uint64_t size) {
  const std::uint64_t cluster = TRY(option_size(options, "cluster_size", 65536));
  const std::uint64_t bitmap = align_up(divide_up(divide_up(size, cluster), 8), cluster);
  // The raw file has the length of the disk, whatever is in it.
  return Overhead{1, std::max<std::uint64_t>(4096, cluster) + bitmap, true};
}

Result<Overhead> overhead_of(std::string_view format, const OptionMap& options, std::uint64_t size) {
  if (format == "qcow2") return qcow2_overhead(options, size);
  if (format == "qed") return qed_overhead(options, size);
  if (format == "add-cow") return add_cow_overhead(options, size);
  return Overhead{.always_full = true};
}

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
  if (format == "add-cow" && !options.contains("image_file")) request.options.emplace("image_file", "measured.raw");
  static_cast<void>(TRY(create_image(request, true)));
  const Overhead overhead = TRY(overhead_of(format, options, align_up(size, 512)));
  const std::uint64_t all = align_up(align_up(size, 512), overhead.cluster_size);
  const bool whole = overhead.always_full || (source != nullptr && options.contains("backing_file"));
  const std::uint64_t used = whole               ? all
                             : source == nullptr ? 0
                                                 : std::min(all, TRY(used_bytes(*source, overhead.cluster_size)));
  return Measure{overhead.bytes + used, overhead.bytes + all};
}

}  // namespace penstock
