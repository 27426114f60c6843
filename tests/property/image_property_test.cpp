// SPDX-License-Identifier: Apache-2.0
// Random requests against a flat model: whatever the layers are, the image is one raw disk.
#include "tests/support/expect.hpp"
#include "tests/support/layered.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_directory.hpp"

#include <thread>

namespace penstock {
namespace {

using test::Below;
using test::Layered;
using test::ModelDisk;
using test::must;
using test::Random;

/// Any alignment, mostly small, sometimes large, often at the ends of clusters and of `within`.
GuestRange random_range(GuestRange within, Random& random) {
  auto from = within.offset.value + random.below(within.length);
  if (random.chance(40)) from = align_down(from, random.chance(50) ? 65536 : 4096);
  from = std::max(from, within.offset.value);
  const auto most = within.end().value - from;
  auto length = 1 + random.below(std::min<std::uint64_t>(most, random.chance(15) ? 512U << 10U : 24U << 10U));
  if (random.chance(30)) length = std::min(most, align_up(length, 4096));
  if (random.chance(3)) length = most;
  return {{from}, length};
}

void expect_model(Image& image, const ModelDisk& model, GuestRange range) {
  std::vector<std::byte> found(range.length, std::byte{0xcc});
  ASSERT_OK(image.read(range.offset, found));
  ASSERT_EQ(model.difference(range.offset, found), "") << "reading " << range.offset.value << " + " << range.length;
}

/// One random request inside `within`, of which nobody else changes a byte, and what it does to the model.
void random_request(Image& image, ModelDisk& model, GuestRange within, Random& random) {
  const auto range = random_range(within, random);
  const auto zeroing = random.chance(50) ? Zeroing::may_unmap : Zeroing::keep;
  SCOPED_TRACE(testing::Message() << "request at " << range.offset.value << " + " << range.length);
  switch (random.below(12)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      std::vector<std::byte> bytes(range.length);
      if (!random.chance(10)) random.fill(bytes);
      // Zeroes among them, for detection: clusters, parts of clusters, and around their ends.
      if (random.chance(30)) {
        const auto from = random.below(bytes.size());
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(from), 1 + random.below(bytes.size() - from),
                    std::byte{});
      }
      ASSERT_OK(image.write(range.offset, bytes));
      model.write(range.offset, bytes);
      break;
    }
    case 4:
    case 5:
      ASSERT_OK(image.write_zeroes(range, zeroing));
      model.zero(range);
      break;
    case 6: {
      ASSERT_OK(image.discard(range));
      // Any contents are right, as long as they stay.
      std::vector<std::byte> left(range.length);
      ASSERT_OK(image.read(range.offset, left));
      model.write(range.offset, left);
      break;
    }
    case 7:
      if (random.chance(30)) {
        ASSERT_OK(image.allocate(range));
      }
      break;
    case 8:
      if (random.chance(20)) {
        ASSERT_OK(image.flush());
      }
      break;
    case 9:
      if (random.chance(30)) {
        const auto whole = widen(range, image.geometry().cluster_size).intersection({{0}, image.virtual_size()});
        ASSERT_OK(image.populate(whole, nullptr));
      }
      break;
    default:
      break;
  }
  expect_model(image, model, random.chance(50) ? range : random_range(within, random));
}

/// The extents cover the disk without gaps, and what they call zero reads as zero.
void expect_extents(Image& image, const ModelDisk& model) {
  GuestOffset at{0};
  while (at.value < image.virtual_size()) {
    const auto extent = must(image.extent({at, image.virtual_size() - at.value}));
    ASSERT_EQ(extent.guest.offset, at);
    ASSERT_GT(extent.guest.length, 0U);
    if (extent.kind == ExtentKind::zero || extent.kind == ExtentKind::unallocated) {
      const std::vector<std::byte> zeroes(extent.guest.length);
      ASSERT_EQ(model.difference(at, zeroes), "");
    }
    at = extent.guest.end();
  }
}

void resize_at_random(Image& image, ModelDisk& model, Random& random) {
  const auto size = align_up(random.between(1, model.size() + (1U << 20U)), 512);
  const auto resized = image.resize(size);
  if (!resized && resized.error().is(EOPNOTSUPP)) return;  // version 2 over a backing file, an image with snapshots
  ASSERT_OK(resized);
  model.resize(size);
  ASSERT_EQ(image.virtual_size(), size);
}

void alone(Image& image, ModelDisk& model, Random& random, bool resizing) {
  for (int i = 0; i < 250; ++i) {
    ASSERT_NO_FATAL_FAILURE(random_request(image, model, {{0}, model.size()}, random));
    if (resizing && random.chance(4)) {
      ASSERT_NO_FATAL_FAILURE(resize_at_random(image, model, random));
    }
  }
}

/// Threads beside each other in regions whose ends lie inside of clusters.
void together(Image& image, ModelDisk& model, Random& random) {
  constexpr unsigned kThreads = 4;
  std::vector<std::uint64_t> cuts{0};
  for (unsigned i = 1; i < kThreads; ++i) cuts.push_back(model.size() * i / kThreads + random.below(3000) + 1);
  cuts.push_back(model.size());
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i, mine = random.fork()]() mutable {
      // A thread changes its own bytes of the model only.
      for (int turn = 0; turn < 80 && !testing::Test::HasFailure(); ++turn) {
        random_request(image, model, {{cuts[i]}, cuts[i + 1] - cuts[i]}, mine);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

void expect_clean(const Layered& layered) {
  const auto report = layered.top.check();
  if (!report && report.error().is(EOPNOTSUPP)) return;
  ASSERT_OK(report);
  EXPECT_EQ(report->corruptions, 0U);
  EXPECT_EQ(report->leaks, 0U);
  EXPECT_EQ(report->check_errors, 0U);
}

void run_on(Layered& layered, Random& random, bool resizing = true) {
  SCOPED_TRACE(layered.name);
  auto& model = layered.model;
  for (int life = 0; life < 2; ++life) {
    const auto detect_zeroes = static_cast<DetectZeroes>(random.below(3));
    const auto image = layered.open(true, detect_zeroes);
    image->set_copy_on_read(random.chance(40));
    ASSERT_NO_FATAL_FAILURE(expect_model(*image, model, {{0}, model.size()}));
    ASSERT_NO_FATAL_FAILURE(alone(*image, model, random, resizing));
    ASSERT_NO_FATAL_FAILURE(expect_model(*image, model, {{0}, model.size()}));
    if (model.size() > 100000) together(*image, model, random);
    if (testing::Test::HasFailure()) return;
    ASSERT_NO_FATAL_FAILURE(expect_model(*image, model, {{0}, model.size()}));
    ASSERT_NO_FATAL_FAILURE(expect_extents(*image, model));
    ASSERT_OK(image->close());
    ASSERT_NO_FATAL_FAILURE(expect_clean(layered));
  }
  const auto again = layered.open(false);
  ASSERT_EQ(again->virtual_size(), model.size());
  ASSERT_NO_FATAL_FAILURE(expect_model(*again, model, {{0}, model.size()}));
}

std::uint64_t size_for(const test::Shape& shape) {
  const auto cluster = shape.options.find("cluster_size");
  return (cluster != shape.options.end() && cluster->second == "2097152" ? 6ULL << 20U : 1ULL << 20U) + 5 * 512;
}

class ImageProperty : public testing::TestWithParam<test::Shape> {};

TEST_P(ImageProperty, IsARawDiskWhateverIsBelow) {
  Random random("ImageProperty." + GetParam().name);
  if (!GetParam().backing) {
    auto layered = Layered::create(GetParam(), Below::nothing, size_for(GetParam()), random);
    run_on(*layered, random);
    return;
  }
  for (const auto below : {Below::raw, Below::shorter, Below::longer, Below::chain, Below::compressed}) {
    auto layered = Layered::create(GetParam(), below, size_for(GetParam()), random);
    if (!layered) continue;
    ASSERT_NO_FATAL_FAILURE(run_on(*layered, random));
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, ImageProperty, testing::ValuesIn(test::shapes()),
                         [](const auto& shape) { return shape.param.name; });

TEST(ImagePropertyOfQemu, ACompressedTopIsARawDisk) {
  Random random("ImagePropertyOfQemu.Compressed");
  auto layered = Layered::create_by_qemu(true, false, (1U << 20U) + 512, random);
  if (!layered) GTEST_SKIP() << "no qemu-img";
  run_on(*layered, random);
}

TEST(ImagePropertyOfQemu, ASnapshotKeepsItsContents) {
  for (const bool compressed : {false, true}) {
    Random random("ImagePropertyOfQemu.Snapshot");
    auto layered = Layered::create_by_qemu(compressed, true, (1U << 20U) + 512, random);
    if (!layered) GTEST_SKIP() << "no qemu-img";
    const ModelDisk before = layered->model;
    ASSERT_NO_FATAL_FAILURE(run_on(*layered, random, false));
    if (HasFailure()) return;
    const test::TemporaryDirectory directory;
    test::save_file(*layered->top.file, directory.file("top"));
    const auto taken =
        test::run("qemu-img check -q " + directory.file("top") + " && qemu-img convert -q -l s1 -O raw " +
                  directory.file("top") + " " + directory.file("s1"));
    ASSERT_EQ(taken.status, 0) << taken.output;
    std::vector<std::byte> snapshot(before.size());
    must(test::load_file(directory.file("s1"))->read({0}, snapshot));
    ASSERT_EQ(before.difference({0}, snapshot), "");
  }
}

}  // namespace
}  // namespace penstock
