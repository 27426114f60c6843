// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"
#include "format/add_cow/format.hpp"
#include "format/add_cow/header.hpp"
#include "format/option_values.hpp"

#include <array>
#include <bit>

namespace penstock::add_cow {

namespace {

constexpr std::array<CreateOption, 6> kKnownOptions{{
    {"backing_file", "str", "File name of a base image"},
    {"backing_fmt", "str", "Image format of the base image"},
    {"cluster_size", "size", "Cluster size (in bytes)"},
    {"image_fmt", "str", "Image format of the image file (raw)"},
    {"image_file", "str", "File name of the raw image file, which is made when it does not exist"},
    {"size", "size", "Virtual disk size"},
}};

class Plan final : public CreatePlan {
 public:
  Plan(Header header, std::uint64_t size, bool size_given, std::string summary)
      : header_(std::move(header)), size_(size), size_given_(size_given), summary_(std::move(summary)) {}

  [[nodiscard]] std::string summary() const override { return summary_; }
  [[nodiscard]] std::string data_file() const override { return header_.image_name; }
  [[nodiscard]] bool keeps_data_file() const override { return true; }

  [[nodiscard]] Result<> write(std::shared_ptr<Storage> storage, std::shared_ptr<Storage> data) const override {
    const std::uint64_t size = TRY(decide_size(TRY(data->size())));
    TRY(header_.check_size(size));
    TRY(data->truncate(size));
    TRY(data->flush());
    const std::uint64_t bitmap = header_.bitmap_bytes(size);
    TRY(storage->truncate(header_.bitmap_offset() + bitmap));
    // Room for every bit from the start: setting one must not fail on a full host.
    if (auto room = storage->allocate({{header_.bitmap_offset()}, bitmap}); !room && !room.error().is(EOPNOTSUPP)) {
      return room;
    }
    if (header_.all_allocated())
      TRY(set_all_bits(*storage, header_, size));  // a reader that does not know the flag must be right too
    TRY(storage->flush());
    TRY(storage->write({0}, TRY(encode_header(header_))));
    return storage->flush();
  }

 private:
  /// An image file that is there already only grows, and decides the size when nobody gave one.
  [[nodiscard]] Result<std::uint64_t> decide_size(std::uint64_t length) const {
    const auto which = concat("image file '", printable(header_.image_name), "' has ", length, " bytes, ");
    if (size_given_ && length > size_)
      return fail(EINVAL, concat(which, "more than the disk is to have; it is not cut"));
    if (!size_given_ && length != 0 && length < size_) {
      return fail(EINVAL, concat(which, "fewer than its backing file; give the size to grow it"));
    }
    return std::max(length, size_);
  }
  const Header header_;
  const std::uint64_t size_;
  const bool size_given_;
  const std::string summary_;
};

}  // namespace

Result<std::unique_ptr<CreatePlan>> plan_create(const CreateRequest& request) {
  const OptionMap& options = request.options;
  TRY(refuse_unknown_options("add-cow", options, kKnownOptions));
  const std::uint64_t size = request.size != 0 ? request.size : TRY(option_size(options, "size", 0));
  const std::uint64_t cluster_size = TRY(option_size(options, "cluster_size", 65536));
  if (!std::has_single_bit(cluster_size) || cluster_size < 1U << kClusterBitsMin ||
      cluster_size > 1U << kClusterBitsMax) {
    return fail(EINVAL, "add-cow cluster size must be a power of two between 4k and 2M");
  }
  if (size > INT64_MAX - (1U << 20U)) return fail(EFBIG, "virtual size is too large");
  Header header;
  header.cluster_bits = static_cast<std::uint32_t>(std::countr_zero(cluster_size));
  TRY(header.check_size(size));
  header.image_name = option_text(options, "image_file");
  header.image_format = option_text(options, "image_fmt", "raw");
  header.backing = TRY(option_backing(request));
  if (header.image_name.empty())
    return fail(EINVAL, "add-cow needs the raw file that holds the data: -o image_file=NAME");
  if (header.image_format != "raw") {
    return fail(ENOTSUP,
                concat("add-cow keeps its data in a raw file, not in format '", printable(header.image_format), "'"));
  }
  if (header.image_name == header.backing.name) return fail(EINVAL, "the image file is the backing file");
  if (!header.backing.name.empty() && header.backing.format.empty()) {
    return fail(EINVAL, "add-cow stores the format of its backing file: say -F FORMAT");
  }
  // Without a backing file there is nothing to ask: the raw file's own contents are the disk.
  if (header.backing.name.empty()) header.compatible = kAllAllocated;
  static_cast<void>(TRY(encode_header(header)));
  std::string summary = concat("size=", size);
  if (!header.backing.name.empty()) {
    summary.append(
        concat(" backing_file=", printable(header.backing.name), " backing_fmt=", printable(header.backing.format)));
  }
  summary.append(concat(" image_file=", printable(header.image_name), " cluster_size=", cluster_size));
  return std::make_unique<Plan>(std::move(header), size, request.size_given, std::move(summary));
}

std::span<const CreateOption> create_option_list() {
  return kKnownOptions;
}

Result<Overhead> overhead(const OptionMap& options, std::uint64_t size) {
  const std::uint64_t cluster = TRY(option_size(options, "cluster_size", 65536));
  const std::uint64_t bitmap = align_up(divide_up(divide_up(size, cluster), 8), cluster);
  // The raw file has the length of the disk, whatever is in it.
  return Overhead{1, std::max<std::uint64_t>(4096, cluster) + bitmap, true};
}

}  // namespace penstock::add_cow
