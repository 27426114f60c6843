// SPDX-License-Identifier: Apache-2.0
// Every cell of the design's table of zero writes: what each format makes of zeroes and discards, in each state that a
// cluster can be in. The expectations are written out; they come from penstock-formats(5).
#include <penstock/image.hpp>

#include "image/layer.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/shape.hpp"

#include <algorithm>
#include <array>

namespace penstock {
namespace {

using test::must;
using test::Shape;
using test::ShapedImage;

constexpr std::uint64_t kCluster = 65536;
constexpr std::uint64_t kLast = 40U << 10U;  // what the disk has of its last cluster
constexpr std::uint64_t kSize = 8 * kCluster + kLast;
constexpr std::byte kBacking{0xb5};
constexpr std::byte kTop{0xa7};

/// One letter a state, as `map` tells it of the top layer:
///   U  unallocated: the backing file shows, or zero without one
///   D  data
///   C  compressed
///   Z  zero, without host room
///   R  zero, with a place in a file: host room that is kept, or a hole of the raw file
using State = char;

/// What becomes of a cluster in a state. The three letters are for write zeroes, the same with unmap, and discard; the
/// first three where whole clusters are named (the last one of the disk is whole although it is short), the others of
/// the part itself where only a part of a cluster is.
struct Row {
  const char* image;
  State before;
  const char* whole;
  const char* part;
};

constexpr Row kRows[] = {
    // raw: holes. A few zero bytes are written rather than asked for, unless room is to be given back.
    {"raw", 'R', "RRR", "DRR"},
    {"raw", 'D', "RRR", "DRR"},
    // qcow2 version 2 knows no zeroes: unallocated clusters without a backing file, zero bytes over one.
    {"v2", 'U', "UUU", "UUU"},
    {"v2", 'D', "DUU", "DDD"},
    {"v2", 'C', "UUU", "DDC"},
    {"v2 backing", 'U', "DDU", "DDU"},
    {"v2 backing", 'D', "DDD", "DDD"},
    {"v2 backing", 'C', "DDC", "DDC"},
    // qcow2 version 3
    {"v3", 'U', "UUU", "UUU"},
    {"v3", 'D', "RUZ", "DDD"},
    {"v3", 'C', "UUZ", "DDC"},
    {"v3", 'Z', "ZZZ", "ZZZ"},
    {"v3", 'R', "RUZ", "RRR"},
    {"v3 backing", 'U', "ZZZ", "DDU"},
    {"v3 backing", 'D', "RZZ", "DDD"},
    {"v3 backing", 'C', "ZZZ", "DDC"},
    {"v3 backing", 'Z', "ZZZ", "ZZZ"},
    {"v3 backing", 'R', "RZZ", "RRR"},
    // Subclusters: the part is one or more of them.
    {"extended", 'U', "UUU", "UUU"},
    {"extended", 'D', "RUZ", "RRD"},
    {"extended", 'C', "UUZ", "DDC"},
    {"extended", 'Z', "UUZ", "ZZZ"},
    {"extended", 'R', "RUZ", "RZR"},
    {"extended backing", 'U', "ZZZ", "ZZU"},
    {"extended backing", 'D', "RZZ", "RRD"},
    {"extended backing", 'C', "ZZZ", "DDC"},
    {"extended backing", 'Z', "ZZZ", "ZZZ"},
    {"extended backing", 'R', "RZZ", "RZR"},
    // An external data file: room is where the guest offset says, given back or not.
    {"data file", 'U', "UUU", "UUU"},
    {"data file", 'D', "RUZ", "DDD"},
    {"data file", 'Z', "ZZZ", "ZZZ"},
    {"data file", 'R', "RUZ", "RRR"},
    {"data file backing", 'U', "ZZZ", "DDU"},
    {"data file backing", 'D', "RZZ", "DDD"},
    {"data file backing", 'Z', "ZZZ", "ZZZ"},
    {"data file backing", 'R', "RZZ", "RRR"},
    // The data file alone is the disk: zeroes are in it, and in the map.
    {"raw data file", 'D', "RRD", "DDD"},
    {"raw data file", 'R', "RRR", "RRR"},
    // QED never unlinks a data cluster: nothing could use it again. Its room is given back as a hole.
    {"qed", 'U', "UUU", "UUU"},
    {"qed", 'D', "DDD", "DDD"},
    {"qed", 'Z', "ZZZ", "ZZZ"},
    {"qed backing", 'U', "ZZU", "DDU"},
    {"qed backing", 'D', "DDD", "DDD"},
    {"qed backing", 'Z', "ZZZ", "ZZZ"},
    // add-cow: holes of the raw file under a set bit.
    {"add-cow", 'R', "RRR", "DRR"},
    {"add-cow", 'D', "RRR", "DRR"},
    {"add-cow backing", 'U', "RRU", "RRU"},
    {"add-cow backing", 'D', "RRR", "DRD"},
    {"add-cow backing", 'R', "RRR", "DRR"},
};

Shape shape_of(std::string_view name) {
  Shape shape{.name = std::string(name)};
  if (name.ends_with(" backing")) {
    shape.backing = true;
    name.remove_suffix(std::string_view(" backing").size());
  }
  if (name == "raw" || name == "qed" || name == "add-cow") shape.format = name;
  if (name == "v2") shape.options = {{"compat", "0.10"}};
  if (name == "extended") shape.options = {{"extended_l2", "on"}};
  if (name == "data file") shape.options = {{"data_file", "data"}};
  if (name == "raw data file") shape.options = {{"data_file", "data"}, {"data_file_raw", "on"}};
  if (name == "add-cow") shape.options = {{"image_file", "data"}};
  if (name != "raw") shape.options["cluster_size"] = std::to_string(kCluster);
  return shape;
}

enum class Act : std::uint8_t { zero, zero_unmap, discard, detect, detect_unmap };
constexpr std::array kActs{Act::zero, Act::zero_unmap, Act::discard, Act::detect, Act::detect_unmap};
constexpr std::array kActNames{"write zeroes", "write zeroes with unmap", "discard", "zeroes detected",
                               "zeroes detected with unmap"};

/// Which of the three letters of a row tells about it.
std::size_t column_of(Act act) {
  if (act == Act::discard) return 2;
  return act == Act::zero_unmap || act == Act::detect_unmap ? 1 : 0;
}

struct Where {
  const char* name;
  GuestRange cluster;
  GuestRange range;
  bool whole;
};
// Parts are of whole subclusters.
constexpr Where kWheres[] = {
    {"whole", {{2 * kCluster}, kCluster}, {{2 * kCluster}, kCluster}, true},
    {"head", {{2 * kCluster}, kCluster}, {{2 * kCluster}, 16384}, false},
    {"tail", {{2 * kCluster}, kCluster}, {{2 * kCluster + 49152}, 16384}, false},
    {"middle", {{2 * kCluster}, kCluster}, {{2 * kCluster + 16384}, 32768}, false},
    {"last", {{8 * kCluster}, kLast}, {{8 * kCluster}, kLast}, true},
};

std::vector<std::byte> filled(std::uint64_t length, std::byte value) {
  return std::vector<std::byte>(length, value);
}

class Cell {
 public:
  explicit Cell(const Shape& shape) : image_(ShapedImage::create(shape, kSize)) {
    if (!shape.backing) return;
    base_ = std::make_shared<MemoryStorage>("base");
    must(base_->write({0}, filled(kSize, kBacking)));
  }

  [[nodiscard]] std::unique_ptr<Image> open(DetectZeroes detect = DetectZeroes::off) const {
    Layers layers;
    layers.push_back(make_layer("top", must(image_.open(true))));
    if (base_ != nullptr) {
      const ShapedImage base{{.name = "base", .format = "raw"}, base_, nullptr};
      layers.push_back(make_layer("base", must(base.open(false))));
    }
    return make_image(std::move(layers), {.writable = true, .detect_zeroes = detect});
  }

  /// Brings the cluster into the state; its neighbour has data, so that tables exist.
  void prepare(GuestRange cluster, State state) {
    {
      const auto image = open();
      must(image->write({0}, filled(kCluster, kTop)));
      const bool was_hole = state == 'R' && holes_are_zero();
      if (state == 'C') must(image->write_compressed(cluster.offset, filled(cluster.length, kTop)));
      const bool qcow2_zero = state == 'Z' && image_.shape.format == "qcow2";
      if (state == 'D' || state == 'R' || qcow2_zero) must(image->write(cluster.offset, filled(cluster.length, kTop)));
      if (state == 'R') must(image->write_zeroes(cluster, Zeroing::keep));
      if (qcow2_zero) must(image->discard(cluster));
      if (was_hole) must(image->write_zeroes(cluster, Zeroing::may_unmap));  // few zeroes are kept as bytes else
      must(image->close());
    }
    if (state == 'Z' && image_.shape.format == "qed") put_qed_zero(cluster);
    const auto image = open();
    ASSERT_EQ(state_of(*image, cluster), state) << "before";
    must(image->close());
  }

  static State state_of(Image& image, GuestRange range) {
    const auto extent = must(image.extent(range));
    EXPECT_EQ(extent.guest, range);
    if (!extent.present || extent.depth != 0) return 'U';
    switch (extent.kind) {
      case ExtentKind::data:
        return 'D';
      case ExtentKind::compressed:
        return 'C';
      case ExtentKind::zero:
        return extent.storage != nullptr ? 'R' : 'Z';
      case ExtentKind::unallocated:
        break;
    }
    return 'U';
  }

  [[nodiscard]] std::uint64_t file_bytes() const { return must(image_.file->size()); }
  [[nodiscard]] std::uint64_t host_bytes() const {
    return must(image_.file->allocated_bytes()) + (image_.data ? must(image_.data->allocated_bytes()) : 0);
  }
  [[nodiscard]] const ShapedImage& image() const { return image_; }
  [[nodiscard]] bool has_base() const { return base_ != nullptr; }
  void expect_base_kept() const {
    if (base_ == nullptr) return;
    std::vector<std::byte> bytes(kSize);
    must(base_->read({0}, bytes));
    EXPECT_EQ(bytes, filled(kSize, kBacking));
  }

 private:
  [[nodiscard]] bool holes_are_zero() const { return image_.shape.format == "raw" || image_.shape.format == "add-cow"; }

  /// Zero clusters without a backing file are left by those who dropped it. Source: penstock-formats(5), "QED".
  void put_qed_zero(GuestRange cluster) {
    const auto word = [this](std::uint64_t at) {
      std::array<std::byte, 8> bytes{};
      must(image_.file->read({at}, bytes));
      std::uint64_t value = 0;
      for (std::size_t i = 8; i-- != 0;) value = value << 8U | std::to_integer<std::uint64_t>(bytes[i]);
      return value;
    };
    const std::uint64_t l2 = word(word(40));
    const std::array<std::byte, 8> zero_entry{std::byte{1}};
    must(image_.file->write({l2 + cluster.offset.value / kCluster * 8}, zero_entry));
  }

  ShapedImage image_;
  std::shared_ptr<MemoryStorage> base_;
};

void act(Image& image, Act what, GuestRange range) {
  switch (what) {
    case Act::zero:
      return must(image.write_zeroes(range, Zeroing::keep));
    case Act::zero_unmap:
      return must(image.write_zeroes(range, Zeroing::may_unmap));
    case Act::discard:
      return must(image.discard(range));
    case Act::detect:
    case Act::detect_unmap:
      return must(image.write(range.offset, std::vector<std::byte>(range.length)));
  }
}

DetectZeroes detection_of(Act what) {
  if (what == Act::detect) return DetectZeroes::on;
  return what == Act::detect_unmap ? DetectZeroes::unmap : DetectZeroes::off;
}

std::vector<std::byte> read(Image& image, GuestRange range) {
  std::vector<std::byte> bytes(range.length, std::byte{0xee});
  must(image.read(range.offset, bytes));
  return bytes;
}

/// The bytes that the cluster shows before.
std::byte shown(const Cell& cell, State before) {
  if (before == 'D' || before == 'C') return kTop;
  return before == 'U' && cell.has_base() ? kBacking : std::byte{0};
}

void expect_contents(Image& image, const Cell& cell, State before, const Where& where, Act what) {
  auto expected = filled(where.cluster.length, shown(cell, before));
  const auto found = read(image, where.cluster);
  // The contents of what is discarded no longer matter, but they must not be a third thing.
  const bool kept = what == Act::discard && found == expected;
  if (kept) return;
  std::ranges::fill(std::span(expected).subspan(where.range.offset - where.cluster.offset, where.range.length),
                    std::byte{0});
  EXPECT_EQ(found, expected);
  EXPECT_EQ(read(image, {{0}, kCluster}), filled(kCluster, kTop));
  const GuestRange neighbour{where.cluster.offset - kCluster, kCluster};
  EXPECT_EQ(read(image, neighbour), filled(kCluster, shown(cell, 'U')));
}

void expect_sound(const Cell& cell) {
  const auto report = cell.image().check();
  if (!report) return;
  EXPECT_EQ(report->corruptions, 0U);
  EXPECT_EQ(report->leaks, 0U);
}

void run(const Row& row, const Where& where, Act what) {
  const State expected = (where.whole ? row.whole : row.part)[column_of(what)];
  Cell cell(shape_of(row.image));
  cell.prepare(where.cluster, row.before);
  const auto file_before = cell.file_bytes();
  const auto host_before = cell.host_bytes();
  {
    const auto image = cell.open(detection_of(what));
    act(*image, what, where.range);
    EXPECT_EQ(Cell::state_of(*image, where.range), expected);
    expect_contents(*image, cell, row.before, where, what);
    must(image->close());
  }
  // Only what had no bytes of its own needs new ones, and only where the format has no other way to say zero.
  const bool needs_room = expected == 'D' && row.before != 'D';
  EXPECT_LE(cell.file_bytes(), align_up(file_before, kCluster) + (needs_room ? kCluster : 0));
  const bool copies = needs_room || (!where.whole && row.before == 'U' && expected != 'U');
  EXPECT_LE(cell.host_bytes(), host_before + (copies ? kCluster : 0));
  expect_sound(cell);
  cell.expect_base_kept();
  const auto image = cell.open();
  EXPECT_EQ(Cell::state_of(*image, where.range), expected) << "opened again";
  expect_contents(*image, cell, row.before, where, what);
  // Room that was given up is used again.
  const bool gave_up = row.before == 'D' && (expected == 'U' || expected == 'Z') && row.image[0] == 'v';
  if (gave_up) {
    const auto before = cell.file_bytes();
    must(image->write({5 * kCluster}, filled(kCluster, kTop)));
    must(image->close());
    EXPECT_EQ(cell.file_bytes(), before);
  }
}

TEST(ZeroCells, EveryFormatSaysZeroAsItCan) {
  for (const Row& row : kRows) {
    for (const Where& where : kWheres) {
      for (const Act what : kActs) {
        SCOPED_TRACE(std::string(row.image) + ", state " + row.before + ", " + where.name + ", " +
                     kActNames[static_cast<std::size_t>(what)]);
        run(row, where, what);
      }
    }
  }
}

}  // namespace
}  // namespace penstock
