// SPDX-License-Identifier: Apache-2.0
#include "tests/support/shape.hpp"

#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"

#include <array>

namespace penstock::test {

const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all{
      {.name = "raw", .format = "raw"},
      {.name = "v2", .options = {{"compat", "0.10"}}},
      {.name = "v2_backing", .options = {{"compat", "0.10"}, {"cluster_size", "4096"}}, .backing = true},
      {.name = "v3"},
      {.name = "v3_backing", .options = {{"cluster_size", "4096"}}, .backing = true},
      {.name = "v3_512", .options = {{"cluster_size", "512"}}},
      {.name = "v3_512_refcount64", .options = {{"cluster_size", "512"}, {"refcount_bits", "64"}}},
      {.name = "v3_refcount1", .options = {{"cluster_size", "4096"}, {"refcount_bits", "1"}}},
      {.name = "v3_2M", .options = {{"cluster_size", "2097152"}}},
      {.name = "extended_l2", .options = {{"extended_l2", "on"}, {"cluster_size", "16384"}}},
      {.name = "extended_l2_backing", .options = {{"extended_l2", "on"}, {"cluster_size", "16384"}}, .backing = true},
      {.name = "lazy", .options = {{"lazy_refcounts", "on"}, {"cluster_size", "4096"}}},
      {.name = "lazy_512", .options = {{"lazy_refcounts", "on"}, {"cluster_size", "512"}}},
      {.name = "data_file", .options = {{"data_file", "data"}, {"cluster_size", "4096"}}},
      {.name = "data_file_backing", .options = {{"data_file", "data"}, {"cluster_size", "4096"}}, .backing = true},
      {.name = "data_file_raw", .options = {{"data_file", "data"}, {"data_file_raw", "on"}, {"cluster_size", "4096"}}},
      {.name = "data_file_extended_l2",
       .options = {{"data_file", "data"}, {"extended_l2", "on"}, {"cluster_size", "16384"}}},
      {.name = "qed", .format = "qed"},
      {.name = "qed_4k_table1", .format = "qed", .options = {{"cluster_size", "4096"}, {"table_size", "1"}}},
      {.name = "add_cow", .format = "add-cow", .options = {{"image_file", "data"}, {"cluster_size", "4096"}}},
      {.name = "add_cow_backing",
       .format = "add-cow",
       .options = {{"image_file", "data"}, {"cluster_size", "4096"}},
       .backing = true},
      {.name = "qed_backing", .format = "qed", .options = {{"cluster_size", "4096"}}, .backing = true},
  };
  return all;
}

namespace {

/// Tables of one cluster, which are legal but not made.
bool has_small_tables(const Shape& shape) {
  const auto found = shape.options.find("table_size");
  return found != shape.options.end() && found->second == "1";
}

/// Of a new QED image with tables of two clusters.
void make_tables_small(Storage& file) {
  constexpr std::array<std::byte, 1> kOne{std::byte{1}};
  must(file.write({8}, kOne));
  must(file.truncate(must(file.size()) / 3 * 2));  // the header and one of the two clusters of the L1 table
}

}  // namespace

ShapedImage ShapedImage::create(const Shape& shape, std::uint64_t size) {
  ShapedImage image{shape, std::make_shared<MemoryStorage>("image"), nullptr};
  CreateRequest request{.size = size, .options = shape.options};
  const bool small_tables = has_small_tables(shape);
  if (small_tables) request.options["table_size"] = "2";
  if (shape.backing) {
    request.backing = {"base", "raw"};
    request.backing_size = size;
  }
  const auto plan = must(image.format().plan_create(request));
  if (!plan->data_file().empty()) image.data = std::make_shared<MemoryStorage>("data");
  must(plan->write(image.file, image.data));
  if (small_tables) make_tables_small(*image.file);
  return image;
}

const Format& ShapedImage::format() const {
  return *must(find_format(shape.format));
}

namespace {

FormatOpenOptions options_for(const ShapedImage& image, bool writable) {
  FormatOpenOptions options{.writable = writable};
  options.open_file = [data = image.data](std::string_view, bool) -> Result<std::shared_ptr<Storage>> {
    if (data == nullptr) return fail(ENOENT, "no data file was made");
    return data;
  };
  return options;
}

}  // namespace

Result<std::unique_ptr<FormatDriver>> ShapedImage::open(bool writable) const {
  return format().open(file, options_for(*this, writable));
}

Result<CheckReport> ShapedImage::check(Repair repair) const {
  if (format().check == nullptr) return unsupported("the format has no check");
  return format().check(file, options_for(*this, repair != Repair::none), {.repair = repair});
}

std::string ShapedImage::findings() const {
  std::string all;
  if (format().check == nullptr) return all;
  int lines = 0;
  const auto log = [&](std::string_view line) {
    if (++lines <= 3) all.append(line).append(lines < 3 ? "; " : "; ...");
  };
  if (const auto done = format().check(file, options_for(*this, false), {.log = log}); !done) {
    all += done.error().message();
  }
  return all;
}

}  // namespace penstock::test
