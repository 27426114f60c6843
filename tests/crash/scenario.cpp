// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/scenario.hpp"

#include "base/text.hpp"
#include "format/raw/raw_driver.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_directory.hpp"

#include <fstream>
#include <thread>

namespace penstock::test {

namespace {

constexpr std::uint64_t kBackingChange = 0x7fff0000;
constexpr std::uint64_t kFirstChange = 0x7ffe0000;
constexpr std::uint64_t kChunk = 16;  // sectors that go to one thread

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

/// Ends inside a cluster, before the image does.
std::uint64_t backing_size(const Case& what) {
  return align_down(what.size / 4 * 3, kSectorSize);
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

}  // namespace

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
    }
    const std::map<std::string, std::string> small{{"cluster_size", "4096"}};
    const std::map<std::string, std::string> zstd{{"cluster_size", "4096"}, {"compression_type", "zstd"}};
    const std::map<std::string, std::string> extended{{"cluster_size", "16384"}, {"extended_l2", "on"}};
    const std::map<std::string, std::string> lazy{{"cluster_size", "4096"}, {"lazy_refcounts", "on"}};
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
    must(start.backing->write({0}, tagged(kBackingChange, backing_size(what))));
  }
  return start;
}

Result<std::unique_ptr<Image>> Start::open(const ShapedImage& other, bool writable) const {
  std::vector<Image::Layer> layers;
  layers.push_back({"image", TRY(other.open(writable))});
  if (backing != nullptr) layers.push_back({"base", TRY(kRawFormat.open(backing, {}))});
  return Image::from_layers(std::move(layers), {.writable = writable});
}

void Load::take_start() {
  std::vector<std::byte> bytes(image_.virtual_size());
  must(image_.read({0}, bytes));
  for (std::uint64_t sector = 0; sector < bytes.size() / kSectorSize; ++sector) {
    Tag tag = 0;
    EXPECT_TRUE(read_sector(std::span(bytes).subspan(sector * kSectorSize, kSectorSize), tag));
    history_.start(sector, tag);
  }
}

std::size_t Load::run(Random& random, unsigned operations) {
  std::atomic<std::size_t> errors{0};
  std::vector<std::jthread> threads;
  for (unsigned thread = 0; thread < what_.threads; ++thread) {
    threads.emplace_back([this, thread, operations, &errors, own = random.fork()]() mutable {
      for (unsigned operation = 0; operation < operations; ++operation) {
        if (!step(own, thread)) ++errors;
      }
    });
  }
  threads.clear();
  return errors;
}

Load::Sectors Load::choose(Random& random, unsigned thread) const {
  const auto sectors = image_.virtual_size() / kSectorSize;
  if (what_.threads > 1) {
    const auto chunks = sectors / kChunk / what_.threads;
    const auto chunk = random.below(chunks) * what_.threads + thread;
    if (random.chance(20)) return {chunk * kChunk, kChunk};
    const auto inside = random.below(kChunk);
    return {chunk * kChunk + inside, random.between(1, kChunk - inside)};
  }
  const auto first = random.below(sectors);
  const auto longest = random.chance(8) ? std::uint64_t{700} : std::uint64_t{40};
  return {first, random.between(1, std::min(sectors - first, longest))};
}

bool Load::step(Random& random, unsigned thread) {
  const auto sectors = choose(random, thread);
  const auto kind = random.below(100);
  if (kind < 55) return write(sectors);
  if (kind < 70) return zero(sectors, random.chance(50) ? Zeroing::keep : Zeroing::may_unmap);
  if (kind < 86) return discard(sectors);
  if (kind < 88 && what_.threads == 1) return resize(random);
  if (kind < 98) return flush();
  expect_readable(sectors);
  return true;
}

bool Load::write(Sectors sectors) {
  const auto begun = now_();
  const auto change = history_.new_change();
  std::vector<std::byte> data(sectors.count * kSectorSize);
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    fill_sector(std::span(data).subspan(index * kSectorSize, kSectorSize),
                History::tag_of(change, sectors.first + index));
  }
  const auto done = image_.write({sectors.first * kSectorSize}, data);
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    history_.changed(sectors.first + index, begun, History::tag_of(change, sectors.first + index), done.has_value());
  }
  if (done) expect_readable(sectors);
  return done.has_value();
}

bool Load::zero(Sectors sectors, Zeroing zeroing) {
  const auto begun = now_();
  const auto done = image_.write_zeroes({{sectors.first * kSectorSize}, sectors.count * kSectorSize}, zeroing);
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    history_.changed(sectors.first + index, begun, 0, done.has_value());
  }
  if (done) expect_readable(sectors);
  return done.has_value();
}

bool Load::discard(Sectors sectors) {
  const auto begun = now_();
  const auto done = image_.discard({{sectors.first * kSectorSize}, sectors.count * kSectorSize});
  // It may have been forgotten or not, but from now on it is the one or the other.
  std::vector<std::byte> found(sectors.count * kSectorSize);
  const auto read = done ? image_.read({sectors.first * kSectorSize}, found) : done;
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    Tag tag = 0;
    const auto sector = sectors.first + index;
    if (read && read_sector(std::span(found).subspan(index * kSectorSize, kSectorSize), tag) && tag != 0) {
      EXPECT_TRUE(history_.readable(sector, tag)) << "sector " << sector << " after a discard";
      history_.changed(sector, begun, tag);
    } else {
      history_.changed(sector, begun, 0, read.has_value());
    }
  }
  return read.has_value();
}

bool Load::resize(Random& random) {
  const auto begun = now_();
  const auto before = image_.virtual_size();
  const auto size = random.between(what_.size / 2 / kSectorSize, what_.size / kSectorSize) * kSectorSize;
  const auto done = image_.resize(size);
  if (!done && done.error().is(EOPNOTSUPP)) return true;
  for (auto sector = size / kSectorSize; what_.shape.backing && sector < before / kSectorSize; ++sector) {
    // What is cut off goes before the size does; in between the backing file shows, as with QEMU.
    if (sector >= backing_size(what_) / kSectorSize || is_hole(sector)) continue;
    history_.passing(sector, begun, done ? now_() : SIZE_MAX, History::tag_of(kBackingChange, sector));
  }
  for (auto sector = std::min(size, before) / kSectorSize; sector < std::max(size, before) / kSectorSize; ++sector) {
    history_.changed(sector, begun, 0, done.has_value());
  }
  // A failed one may or may not be there after a crash.
  history_.resized(begun, done ? now_() : SIZE_MAX, size);
  return done.has_value();
}

bool Load::flush() {
  const auto begun = history_.tick();
  const auto done = image_.flush();
  if (done) history_.flushed(begun, now_());
  return done.has_value();
}

void Load::expect_readable(Sectors sectors) const {
  std::vector<std::byte> found(sectors.count * kSectorSize);
  if (!image_.read({sectors.first * kSectorSize}, found)) return;
  for (std::uint64_t index = 0; index < sectors.count; ++index) {
    Tag tag = 0;
    EXPECT_TRUE(read_sector(std::span(found).subspan(index * kSectorSize, kSectorSize), tag));
    ASSERT_TRUE(history_.readable(sectors.first + index, tag))
        << "sector " << sectors.first + index << " holds " << hex(tag);
  }
}

std::string find_problem(Image& image, const History& history, std::size_t moment) {
  const auto size = image.virtual_size();
  if (!history.size_possible(moment, size)) return concat("the virtual size is ", size);
  std::vector<std::byte> bytes(size);
  if (const auto read = image.read({0}, bytes); !read) return read.error().message();
  for (std::uint64_t sector = 0; sector < size / kSectorSize; ++sector) {
    Tag tag = 0;
    if (!read_sector(std::span(bytes).subspan(sector * kSectorSize, kSectorSize), tag)) {
      return concat("sector ", sector, " is torn");
    }
    auto problem = history.problem(sector, moment, tag);
    if (!problem.empty()) return problem;
  }
  return {};
}

}  // namespace penstock::test
