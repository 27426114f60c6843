// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/create_options.hpp"

#include "base/text.hpp"
#include "format/option_values.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace penstock::qcow2 {

namespace {

using Options = OptionMap;

// In qemu-img's words where it has them.
constexpr std::array<CreateOption, 12> kKnownOptions{{
    {"backing_file", "str", "File name of a base image"},
    {"backing_fmt", "str", "Image format of the base image"},
    {"cluster_size", "size", "qcow2 cluster size"},
    {"compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])"},
    {"compression_type", "str", "Compression method used for image cluster compression"},
    {"data_file", "str", "File name of an external data file"},
    {"data_file_raw", "bool (on/off)", "The external data file must stay valid as a raw image"},
    {"extended_l2", "bool (on/off)", "Extended L2 tables"},
    {"lazy_refcounts", "bool (on/off)", "Postpone refcount updates"},
    {"preallocation", "str", "Preallocation mode (allowed values: off, metadata, falloc, full)"},
    {"refcount_bits", "num", "Width of a reference count entry in bits"},
    {"size", "size", "Virtual disk size"},
}};

Failure invalid(std::string message) {
  return fail(EINVAL, std::move(message));
}

Result<> refuse_unknown(const Options& options) {
  for (const auto& [name, value] : options) {
    if (name == "encryption" || name.starts_with("encrypt.")) {
      return fail(ENOTSUP, "penstock cannot make encrypted images; use 'qemu-img create', or leave the option out");
    }
  }
  return refuse_unknown_options("qcow2", options, kKnownOptions);
}

Result<std::uint32_t> version_of(const Options& options) {
  const std::string text = option_text(options, "compat", "1.1");
  if (text == "0.10" || text == "v2") return 2U;
  if (text == "1.1" || text == "v3") return 3U;
  return invalid(concat("option 'compat' is 0.10 (v2) or 1.1 (v3), not '", printable(text), "'"));
}

Result<Preallocation> preallocation_of(const Options& options) {
  const std::string text = option_text(options, "preallocation", "off");
  if (text == "off") return Preallocation::off;
  if (text == "metadata") return Preallocation::metadata;
  if (text == "falloc") return Preallocation::falloc;
  if (text == "full") return Preallocation::full;
  return invalid(concat("option 'preallocation' is off, metadata, falloc or full, not '", printable(text), "'"));
}

Result<std::uint8_t> compression_of(const Options& options) {
  const std::string text = option_text(options, "compression_type", "zlib");
  if (text == "zlib") return std::uint8_t{0};
  if (text == "zstd") return std::uint8_t{1};
  return invalid(concat("option 'compression_type' is zlib or zstd, not '", printable(text), "'"));
}

Result<> check_version_2(const CreateOptions& made) {
  if (made.version >= 3) return {};
  const char* feature = made.lazy_refcounts          ? "lazy refcounts"
                        : made.refcount_order != 4   ? "refcounts of other than 16 bits"
                        : made.compression_type != 0 ? "compression types other than zlib"
                        : made.extended_l2           ? "extended L2 entries"
                        : !made.data_file.empty()    ? "external data files"
                                                     : nullptr;
  if (feature == nullptr) return {};
  return invalid(concat(feature, " need compatibility level 1.1 (compat=v3)"));
}

Result<> check_together(const CreateOptions& made) {
  TRY(check_version_2(made));
  const bool has_backing = !made.backing.name.empty();
  if (!has_backing && !made.backing.format.empty()) return invalid("backing format given without a backing file");
  if (made.extended_l2 && made.cluster_bits < 14) {
    return invalid("extended L2 entries need clusters of at least 16384 bytes");
  }
  if (made.data_file_raw && made.data_file.empty()) return invalid("data_file_raw needs data_file");
  if (made.data_file_raw && has_backing) return invalid("a backing file and data_file_raw exclude each other");
  if (has_backing && made.preallocation != Preallocation::off && !made.extended_l2) {
    return invalid("a backing file goes with preallocation only if extended_l2 is on");
  }
  if (made.backing.name.size() > 1023) return invalid("backing file name is longer than 1023 bytes");
  if (made.backing.format.size() > 15) return invalid("backing format name is longer than 15 bytes");
  return {};
}

Result<> check_size(const CreateOptions& made) {
  const std::uint32_t entry_bits = made.extended_l2 ? 4 : 3;
  const std::uint64_t l2_span_bits = 2 * made.cluster_bits - entry_bits;
  const std::uint64_t size_max = kL1EntriesMax << l2_span_bits;
  if (made.size <= size_max) return {};
  return fail(EFBIG, concat("clusters of ", 1U << made.cluster_bits, " bytes allow a virtual size of at most ",
                            size_max, " bytes; use a larger cluster_size"));
}

/// qemu-img doubles commas, so that its line can be read back.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char character : printable(text)) out.append(character == ',' ? 2 : 1, character);
  return out;
}

std::string summary_of(const Options& options, const CreateOptions& made, std::uint64_t size) {
  std::string out = concat("cluster_size=", 1U << made.cluster_bits);
  const auto add = [&out](const char* name, std::string_view value) { out.append(concat(" ", name, "=", value)); };
  const auto add_given = [&](const char* name) {
    if (options.contains(name)) add(name, options.at(name));
  };
  add("extended_l2", made.extended_l2 ? "on" : "off");
  add_given("preallocation");
  add("compression_type", made.compression_type == 0 ? "zlib" : "zstd");
  add("size", std::to_string(size));
  add_given("compat");
  if (!made.backing.name.empty()) add("backing_file", escaped(made.backing.name));
  if (!made.backing.format.empty()) add("backing_fmt", escaped(made.backing.format));
  if (!made.data_file.empty()) add("data_file", escaped(made.data_file));
  if (options.contains("data_file_raw")) add("data_file_raw", made.data_file_raw ? "on" : "off");
  add("lazy_refcounts", made.lazy_refcounts ? "on" : "off");
  add("refcount_bits", std::to_string(1U << made.refcount_order));
  return out;
}

}  // namespace

Result<CreateOptions> read_create_options(const CreateRequest& request) {
  const Options& options = request.options;
  TRY(refuse_unknown(options));
  const std::uint64_t size = request.size != 0 ? request.size : TRY(option_size(options, "size", 0));
  if (size > INT64_MAX - 511U) return fail(EFBIG, "virtual size is too large");
  const std::uint64_t cluster_size = TRY(option_size(options, "cluster_size", 65536));
  if (!std::has_single_bit(cluster_size) || cluster_size < 512 || cluster_size > 2U << 20U) {
    return invalid("cluster size must be a power of two between 512 and 2048k");
  }
  const std::uint64_t refcount_bits = TRY(option_number(options, "refcount_bits", 16));
  if (!std::has_single_bit(refcount_bits) || refcount_bits > 64) {
    return invalid("refcount_bits must be a power of two of at most 64");
  }

  CreateOptions made;
  made.size = align_up(size, 512);
  made.version = TRY(version_of(options));
  made.cluster_bits = static_cast<std::uint32_t>(std::countr_zero(cluster_size));
  made.refcount_order = static_cast<std::uint32_t>(std::countr_zero(refcount_bits));
  made.lazy_refcounts = TRY(option_switch(options, "lazy_refcounts"));
  made.extended_l2 = TRY(option_switch(options, "extended_l2"));
  made.compression_type = TRY(compression_of(options));
  made.preallocation = TRY(preallocation_of(options));
  made.data_file = option_text(options, "data_file");
  made.data_file_raw = TRY(option_switch(options, "data_file_raw"));
  made.backing = TRY(option_backing(request));
  TRY(check_together(made));
  TRY(check_size(made));
  made.summary = summary_of(options, made, size);
  // Without mappings a raw data file would not be what the guest sees.
  if (made.data_file_raw && made.preallocation == Preallocation::off) made.preallocation = Preallocation::metadata;
  return made;
}

std::span<const CreateOption> create_option_list() {
  return kKnownOptions;
}

/// Source: QEMU's qcow2_calc_prealloc_size(), which the answer is compared with.
Result<Overhead> overhead(const OptionMap& options, std::uint64_t size) {
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

}  // namespace penstock::qcow2
