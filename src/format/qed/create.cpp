// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"
#include "format/option_values.hpp"
#include "format/qed/format.hpp"
#include "format/qed/header.hpp"

#include <array>

namespace penstock::qed {

namespace {

constexpr std::array<CreateOption, 7> kKnownOptions{{
    {"backing_file", "str", "File name of a base image"},
    {"backing_fmt", "str", "Image format of the base image"},
    {"cluster_size", "size", "Cluster size (in bytes)"},
    {"copy_on_read", "bool (on/off)", "Keep what is read from the backing file"},
    {"size", "size", "Virtual disk size"},
    {"stream", "bool (on/off)", "Copy the backing file in the background whenever the image is mounted"},
    {"table_size", "size", "L1/L2 table size (in clusters)"},
}};

class Plan final : public CreatePlan {
 public:
  Plan(Header header, std::string summary) : header_(std::move(header)), summary_(std::move(summary)) {}

  [[nodiscard]] std::string summary() const override { return summary_; }

  [[nodiscard]] Result<> write(std::shared_ptr<Storage> storage, std::shared_ptr<Storage> /*data*/) const override {
    // The header last: a crash before leaves a file that is no image.
    TRY(storage->truncate(header_.l1_offset.value + header_.table_bytes()));
    const auto name = std::as_bytes(std::span(header_.backing_name));
    if (!name.empty()) TRY(storage->write({header_.backing_offset}, name));
    TRY(storage->flush());
    TRY(write_header(*storage, header_));
    return storage->flush();
  }

 private:
  const Header header_;
  const std::string summary_;
};

Result<> set_backing(Header& header, const BackingReference& backing) {
  if (backing.name.empty()) return {};
  if (kHeaderBytes + backing.name.size() > header.cluster_size || backing.name.size() > kBackingNameMax) {
    return fail(ENOSPC, "the name of the backing file does not fit the header");
  }
  header.features |= kBackingFile;
  if (backing.format == "raw") header.features |= kNoProbe;
  header.backing_name = backing.name;
  header.backing_offset = kHeaderBytes;
  header.backing_size = static_cast<std::uint32_t>(backing.name.size());
  return {};
}

Result<> set_streaming(Header& header, const OptionMap& options) {
  const bool copy_on_read = TRY(option_switch(options, "copy_on_read"));
  const bool stream = TRY(option_switch(options, "stream"));
  if ((copy_on_read || stream) && header.backing_name.empty()) {
    return fail(EINVAL, "copy_on_read and stream need a backing file");
  }
  if (stream && !copy_on_read) return fail(EINVAL, "stream=on needs copy_on_read=on");
  header.compatible = (copy_on_read ? std::uint64_t{kCopyOnRead} : 0) | (stream ? std::uint64_t{kStream} : 0);
  return {};
}

}  // namespace

Result<std::unique_ptr<CreatePlan>> plan_create(const CreateRequest& request) {
  const OptionMap& options = request.options;
  TRY(refuse_unknown_options("qed", options, kKnownOptions));
  const std::uint64_t size = request.size != 0 ? request.size : TRY(option_size(options, "size", 0));
  const std::uint64_t cluster_size = TRY(option_size(options, "cluster_size", 65536));
  const std::uint64_t table_size = TRY(option_size(options, "table_size", 4));
  if (!legal_cluster_size(cluster_size)) {
    return fail(EINVAL, "QED cluster size must be a power of two between 4k and 64M");
  }
  // One is legal, and read here; but no QEMU opens an image with such tables.
  if (!legal_table_size(table_size) || table_size == 1) {
    return fail(EINVAL, "QED table size must be 2, 4, 8 or 16 clusters");
  }
  Header header;
  header.cluster_size = static_cast<std::uint32_t>(cluster_size);
  header.table_size = static_cast<std::uint32_t>(table_size);
  // The same: QEMU counts what the tables reach in 64 bits.
  if (header.reach_bits() >= 64) {
    return fail(EINVAL,
                "QED tables of so many clusters of that size reach further than QEMU can count; make either "
                "smaller");
  }
  header.l1_offset = {cluster_size};
  if (size > INT64_MAX - 511U || align_up(size, 512) > header.image_size_max()) {
    return fail(EFBIG, concat("QED image size must be at most ", header.image_size_max(),
                              " bytes with these clusters and tables"));
  }
  header.image_size = align_up(size, 512);
  const BackingReference backing = TRY(option_backing(request));
  TRY(set_backing(header, backing));
  TRY(set_streaming(header, options));
  std::string summary = concat("size=", size);
  if (!backing.name.empty()) summary.append(concat(" backing_file=", printable(backing.name)));
  if (!backing.format.empty()) summary.append(concat(" backing_fmt=", printable(backing.format)));
  summary.append(concat(" cluster_size=", cluster_size));
  if (options.contains("table_size")) summary.append(concat(" table_size=", table_size));
  for (const char* name : {"copy_on_read", "stream"}) {
    if (options.contains(name)) summary.append(concat(" ", name, "=", option_text(options, name)));
  }
  return std::make_unique<Plan>(std::move(header), std::move(summary));
}

std::span<const CreateOption> create_option_list() {
  return kKnownOptions;
}

Result<Overhead> overhead(const OptionMap& options, std::uint64_t size) {
  const std::uint64_t cluster = TRY(option_size(options, "cluster_size", 65536));
  const std::uint64_t table = TRY(option_size(options, "table_size", 4)) * cluster;
  const std::uint64_t l2 = divide_up(divide_up(size, cluster), table / 8);
  return Overhead{cluster, cluster + (1 + l2) * table, false};
}

}  // namespace penstock::qed
