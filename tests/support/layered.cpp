// SPDX-License-Identifier: Apache-2.0
#include "tests/support/layered.hpp"
#include "image/layer.hpp"

#include "base/text.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_directory.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <stdexcept>

namespace penstock::test {

namespace {

constexpr std::array<const char*, 6> kBelowNames{"nothing", "raw", "shorter", "longer", "chain", "compressed"};

ShapedImage raw_image(std::span<const std::byte> bytes) {
  auto storage = std::make_shared<MemoryStorage>("base");
  must(storage->truncate(bytes.size()));
  must(storage->write({0}, bytes));
  return {{.name = "raw", .format = "raw"}, std::move(storage), nullptr};
}

void must_run(const std::string& command) {
  const auto result = run(command);
  if (result.status != 0) throw std::runtime_error(command + ": " + result.output);
}

/// A qcow2 image with compressed clusters and these contents, as QEMU makes it.
ShapedImage compressed_image(std::span<const std::byte> bytes, const char* options) {
  const TemporaryDirectory directory;
  const auto raw = raw_image(bytes);
  save_file(*raw.file, directory.file("raw"));
  must_run("qemu-img convert -q -c -f raw -O qcow2 -o " + std::string(options) + " " + directory.file("raw") + " " +
           directory.file("packed"));
  return {{.name = "compressed"}, load_file(directory.file("packed")), nullptr};
}

}  // namespace

std::vector<std::byte> disk_contents(std::uint64_t size, Random& random) {
  std::vector<std::byte> bytes(size);
  for (std::uint64_t at = 0; at < size;) {
    const auto length = std::min(size - at, random.between(1, 40) * 1024 + random.below(2) * 317);
    if (random.chance(60)) {
      // Half of it the same byte: compressed clusters must come out smaller.
      random.fill(std::span(bytes).subspan(at, length / 2));
      std::ranges::fill(std::span(bytes).subspan(at + length / 2, length - length / 2), std::byte{0x77});
    }
    at += length;
  }
  return bytes;
}

std::shared_ptr<Storage> load_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  auto storage = std::make_shared<MemoryStorage>(path);
  must(storage->write({0}, std::as_bytes(std::span(bytes))));
  return storage;
}

void save_file(Storage& storage, const std::string& path) {
  std::vector<std::byte> bytes(must(storage.size()));
  must(storage.read({0}, bytes));
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

std::optional<Layered> Layered::create(const Shape& shape, Below below, std::uint64_t size, Random& random) {
  Layered made{.name = shape.name + "_over_" + kBelowNames.at(static_cast<std::size_t>(below)),
               .top = ShapedImage::create(shape, size),
               .below = {},
               .model = ModelDisk(size)};
  if (below == Below::nothing) return made;
  if (below == Below::compressed && !have_program("qemu-img")) return std::nullopt;
  auto base_size = size;
  if (below == Below::shorter) base_size = random.between(1, size);  // to the byte
  if (below == Below::longer) base_size = size + random.between(1, 1U << 20U);
  if (below == Below::compressed) base_size = align_up(random.between(size / 2, size), 512);
  auto bytes = disk_contents(base_size, random);
  made.model.write({0}, std::span(bytes).first(std::min(base_size, size)));
  if (below == Below::chain) {
    // A middle layer that is shorter than both and has some clusters of its own.
    const auto middle_size = align_up(random.between(size / 2, size - 512), 512);
    auto middle =
        ShapedImage::create({.name = "middle", .options = {{"cluster_size", "8192"}}, .backing = true}, middle_size);
    const auto image = make_image(must(middle.open(true)), "middle", true);
    for (int i = 0; i < 20; ++i) {
      const auto at = align_down(random.below(middle_size), 8192);
      const GuestRange cluster{{at}, std::min<std::uint64_t>(8192, middle_size - at)};
      std::vector<std::byte> data(cluster.length);
      if (random.chance(30)) {
        must(image->write_zeroes(cluster, Zeroing::may_unmap));
      } else {
        random.fill(data);
        must(image->write(cluster.offset, data));
      }
      made.model.write(cluster.offset, data);
    }
    must(image->close());
    made.model.zero({{middle_size}, size - middle_size});
    made.below.push_back(std::move(middle));
  }
  made.below.push_back(below == Below::compressed ? compressed_image(bytes, "cluster_size=32k") : raw_image(bytes));
  return made;
}

std::optional<Layered> Layered::create_by_qemu(bool compressed, bool snapshot, std::uint64_t size, Random& random) {
  if (!have_program("qemu-img")) return std::nullopt;
  const auto bytes = disk_contents(size, random);
  Layered made{.name = concat("qemu", compressed ? "_compressed" : "", snapshot ? "_snapshot" : ""),
               .top = {},
               .below = {},
               .model = ModelDisk(size)};
  made.model.write({0}, bytes);
  const TemporaryDirectory directory;
  save_file(*raw_image(bytes).file, directory.file("raw"));
  must_run(concat("qemu-img convert -q ", compressed ? "-c" : "", " -f raw -O qcow2 -o cluster_size=16k ",
                  directory.file("raw"), " ", directory.file("top")));
  if (snapshot) must_run("qemu-img snapshot -c s1 " + directory.file("top"));
  made.top = {{.name = made.name}, load_file(directory.file("top")), nullptr};
  return made;
}

std::unique_ptr<Image> Layered::open(bool writable, DetectZeroes detect_zeroes) const {
  Layers layers;
  layers.push_back(make_layer("top", must(top.open(writable))));
  for (const auto& layer : below) layers.push_back(make_layer(layer.shape.name, must(layer.open(false))));
  return make_image(std::move(layers),
                    {.writable = writable, .cache_bytes = 4U << 20U, .detect_zeroes = detect_zeroes});
}

}  // namespace penstock::test
