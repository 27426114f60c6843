// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/scenario.hpp"
#include "image/layer.hpp"

#include "base/text.hpp"
#include "format/raw/raw_driver.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_directory.hpp"

#include <fstream>

namespace penstock::test {

namespace {

constexpr std::uint64_t kBackingChange = 0x7fff0000;
constexpr std::uint64_t kFirstChange = 0x7ffe0000;

bool is_hole(std::uint64_t sector) {
  return sector / 24 % 3 == 2;
}

/// Tagged sectors with holes between them.
std::vector<std::byte> tagged(std::uint64_t change, std::uint64_t size) {
  std::vector<std::byte> bytes(size);
  for (std::uint64_t sector = 0; sector < size / kSectorSize; ++sector) {
    if (is_hole(sector)) continue;
    fill_sector(std::span(bytes).subspan(sector * kSectorSize, kSectorSize), History::tag_of(change, sector));
  }
  return bytes;
}

std::shared_ptr<MemoryStorage> make_by_qemu(const Case& what) {
  const TemporaryDirectory directory;
  const auto bytes = tagged(kFirstChange, what.size);
  std::ofstream(directory.file("raw"), std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  std::string command = "cd '" + directory.path().string() + "' && qemu-img convert -f raw -O qcow2";
  for (const auto& [key, value] : what.shape.options) command += " -o " + key + "=" + value;
  if (what.contents == Contents::compressed) command += " -c";
  command += " raw image";
  if (what.contents == Contents::snapshot) command += " && qemu-img snapshot -c one image";
  const auto done = run(command);
  if (done.status != 0) throw std::runtime_error(done.output);
  std::ifstream file(directory.file("image"), std::ios::binary);
  const std::vector<char> made{std::istreambuf_iterator<char>(file), {}};
  auto memory = std::make_shared<MemoryStorage>("image");
  must(memory->write({0}, std::as_bytes(std::span(made))));
  return memory;
}

void add_streaming(std::vector<Case>& cases, Shape shape) {
  const auto name = shape.name + "_streaming";
  shape.name = name;
  Case item{.shape = std::move(shape), .streams = true};
  cases.push_back(item);
  item.threads = 3;
  item.shape.name = name + "_threads";
  cases.push_back(std::move(item));
}

}  // namespace

std::uint64_t Case::backing_size() const {
  // Ends inside a cluster, before the image does.
  return base_size != 0 ? base_size : align_down(size / 4 * 3, kSectorSize);
}

Tag Case::backing_tag(std::uint64_t sector) const {
  if (!shape.backing || sector >= backing_size() / kSectorSize || is_hole(sector)) return 0;
  return History::tag_of(kBackingChange, sector);
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    std::vector<Case> made;
    for (const Shape& shape : shapes()) {
      if (shape.format == "raw" || shape.name == "v3_2M") continue;
      Case item{.shape = shape, .size = (1U << 20U) + 7 * kSectorSize};
      // Enough clusters that the refcount table has to move.
      if (shape.name == "v3_512_refcount64") item.size = 4U << 20U;
      if (shape.options.count("cluster_size") == 0) item.size = 3U << 20U;
      made.push_back(item);
      item.threads = 4;
      item.shape.name += "_threads";
      made.push_back(item);
      if (shape.backing) add_streaming(made, shape);
    }
    const std::map<std::string, std::string> small{{"cluster_size", "4096"}};
    const std::map<std::string, std::string> zstd{{"cluster_size", "4096"}, {"compression_type", "zstd"}};
    const std::map<std::string, std::string> extended{{"cluster_size", "16384"}, {"extended_l2", "on"}};
    const std::map<std::string, std::string> lazy{{"cluster_size", "4096"}, {"lazy_refcounts", "on"}};
    add_streaming(made, {.name = "lazy_backing", .options = lazy, .backing = true});
    made.push_back({{.name = "compressed", .options = small}, Contents::compressed});
    made.push_back({{.name = "compressed_zstd_threads", .options = zstd}, Contents::compressed, 1U << 20U, 4});
    made.push_back({{.name = "compressed_extended_l2", .options = extended}, Contents::compressed});
    made.push_back({{.name = "snapshot", .options = small}, Contents::snapshot});
    made.push_back({{.name = "snapshot_threads", .options = small}, Contents::snapshot, 1U << 20U, 4});
    made.push_back({{.name = "snapshot_extended_l2", .options = extended}, Contents::snapshot});
    made.push_back({{.name = "snapshot_lazy", .options = lazy}, Contents::snapshot});
    return made;
  }();
  return all;
}

Start Start::make(const Case& what) {
  Start start;
  if (what.contents == Contents::empty) {
    start.image = ShapedImage::create(what.shape, what.size);
  } else {
    start.image = {what.shape, make_by_qemu(what), nullptr};
  }
  if (what.shape.backing) {
    start.backing = std::make_shared<MemoryStorage>("base");
    must(start.backing->write({0}, tagged(kBackingChange, what.backing_size())));
  }
  return start;
}

Result<std::unique_ptr<Image>> Start::open(const ShapedImage& other, bool writable, DetectZeroes detect_zeroes) const {
  Layers layers;
  layers.push_back(make_layer("image", TRY(other.open(writable))));
  // Once it is finalised nothing is asked of the backing file any more.
  const bool asks = backing != nullptr && !layers.front()->driver->backing().name.empty();
  if (asks) layers.push_back(make_layer("base", TRY(kRawFormat.open(backing, {}))));
  return make_image(std::move(layers), {.writable = writable, .detect_zeroes = detect_zeroes});
}

}  // namespace penstock::test
