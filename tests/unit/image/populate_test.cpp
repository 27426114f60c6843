// SPDX-License-Identifier: Apache-2.0
// Copy-on-read, with and without a reader, and letting go of the layers below.
#include "image/layer.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/forwarding_storage.hpp"
#include "tests/support/layered.hpp"

#include <functional>

namespace penstock {
namespace {

using test::must;
using test::Shape;
using test::ShapedImage;

constexpr std::uint32_t kCluster = 4096;
constexpr std::uint64_t kSize = 64 * kCluster + 512;

/// Calls back on the way through.
class HookedStorage final : public test::ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;
  Result<> read(HostOffset offset, std::span<std::byte> out) override {
    ++reads;
    auto done = inner().read(offset, out);
    if (after_read) after_read();
    return done;
  }
  Result<> write(HostOffset offset, std::span<const std::byte> in) override {
    if (fail_writes) return fail(ENOSPC, "no room");
    return inner().write(offset, in);
  }
  std::function<void()> after_read;
  unsigned reads = 0;
  bool fail_writes = false;
};

/// An overlay of format `shape` over a raw base of the byte 0x11, with clusters 8 to 15 zero bytes and 16 to 23 a hole.
struct Chain {
  explicit Chain(const Shape& shape)
      : top(ShapedImage::create(shape, kSize)),
        file(std::make_shared<HookedStorage>(top.file)),
        data(top.data == nullptr ? nullptr : std::make_shared<HookedStorage>(top.data)),
        base(std::make_shared<HookedStorage>(make_base())) {}

  static std::shared_ptr<Storage> make_base() {
    auto storage = std::make_shared<MemoryStorage>("base");
    std::vector<std::byte> bytes(kSize, std::byte{0x11});
    std::fill_n(bytes.begin() + 8 * kCluster, 8 * kCluster, std::byte{});
    must(storage->write({0}, bytes));
    must(storage->write_zeroes({{16 * kCluster}, 8 * kCluster}, Zeroing::may_unmap));
    return storage;
  }
  std::unique_ptr<Image> open() const {
    Layers layers;
    layers.push_back(make_layer("top", must(top.with(file, data).open(true))));
    layers.push_back(make_layer("base", must(must(find_format("raw"))->open(base, {}))));
    return make_image(std::move(layers), {.writable = true});
  }
  /// What the top alone shows.
  std::vector<std::byte> alone() const {
    const auto image = make_image(must(top.open(false)), "top", false);
    std::vector<std::byte> bytes(kSize);
    must(image->read({0}, bytes));
    return bytes;
  }
  ShapedImage top;
  std::shared_ptr<HookedStorage> file;
  std::shared_ptr<HookedStorage> data;  // null without an external data file
  std::shared_ptr<HookedStorage> base;
};

std::vector<std::byte> expected() {
  std::vector<std::byte> bytes(kSize, std::byte{0x11});
  std::fill_n(bytes.begin() + 8 * kCluster, 16 * kCluster, std::byte{});
  return bytes;
}

std::uint64_t top_bytes(Image& image) {
  std::uint64_t bytes = 0;
  for (GuestOffset at{0}; at.value < image.virtual_size();) {
    const auto extent = must(image.extent({at, image.virtual_size() - at.value}));
    if (extent.present && extent.depth == 0) bytes += extent.guest.length;
    at = extent.guest.end();
  }
  return bytes;
}

class Populate : public testing::TestWithParam<Shape> {};

TEST_P(Populate, TheTopStandsAloneAfterwards) {
  const Chain chain(GetParam());
  const auto image = chain.open();
  const auto done = must(image->populate({{0}, kSize}, nullptr));
  EXPECT_EQ(done.copied, 48U * kCluster + 512);
  ASSERT_OK(image->drop_backing(nullptr));
  EXPECT_EQ(image->layer_count(), 1U);
  // A second time there is nothing to do and nothing is read.
  const auto reads = chain.base->reads;
  EXPECT_EQ(must(image->populate({{0}, kSize}, nullptr)).copied, 0U);
  EXPECT_EQ(chain.base->reads, reads);
  std::vector<std::byte> shown(kSize);
  ASSERT_OK(image->read({0}, shown));
  EXPECT_EQ(shown, expected());
  ASSERT_OK(image->close());
  EXPECT_EQ(chain.alone(), expected());
  const auto driver = must(chain.top.open(false));
  EXPECT_EQ(driver->backing().name, "");
}

TEST_P(Populate, ADiscardedClusterDoesNotBringTheBaseBack) {
  const Chain chain(GetParam());
  const auto image = chain.open();
  ASSERT_OK(image->populate({{0}, kSize}, nullptr));
  ASSERT_OK(image->drop_backing(nullptr));
  ASSERT_OK(image->write_zeroes({{0}, 4 * kCluster}, Zeroing::may_unmap));
  ASSERT_OK(image->discard({{4 * kCluster}, 4 * kCluster}));
  const auto reads = chain.base->reads;
  std::vector<std::byte> shown(4 * kCluster, std::byte{1});
  ASSERT_OK(image->read({0}, shown));
  EXPECT_EQ(shown, std::vector<std::byte>(4 * kCluster));
  EXPECT_EQ(chain.base->reads, reads);
}

TEST_P(Populate, AGuestWriteBetweenReadAndStoreWins) {
  const Chain chain(GetParam());
  const auto image = chain.open();
  const std::vector<std::byte> written(100, std::byte{0x99});
  bool wrote = false;
  chain.base->after_read = [&] {
    if (std::exchange(wrote, true)) return;
    must(image->write({2 * kCluster + 50}, written));
  };
  ASSERT_OK(image->populate({{0}, 8 * kCluster}, nullptr));
  EXPECT_TRUE(wrote);
  std::vector<std::byte> shown(kCluster);
  ASSERT_OK(image->read({2 * kCluster}, shown));
  auto wanted = std::vector<std::byte>(kCluster, std::byte{0x11});
  std::ranges::copy(written, wanted.begin() + 50);
  EXPECT_EQ(shown, wanted);
}

TEST_P(Populate, AReadKeepsWhatItFetchedAndZeroesAsZeroes) {
  const Chain chain(GetParam());
  const auto image = chain.open();
  image->set_copy_on_read(true);
  std::vector<std::byte> shown(3 * kCluster);
  ASSERT_OK(image->read({7 * kCluster + 100}, shown));
  const auto all = expected();
  EXPECT_TRUE(std::equal(shown.begin(), shown.end(), all.begin() + 7 * kCluster + 100));
  EXPECT_GE(image->activity().copied_on_read, kCluster);
  const auto extent = must(image->extent({{7 * kCluster}, kCluster}));
  EXPECT_EQ(extent.kind, ExtentKind::data);
  EXPECT_EQ(extent.depth, 0U);
  const auto kept = top_bytes(*image);
  ASSERT_OK(image->read({7 * kCluster}, shown));
  EXPECT_EQ(top_bytes(*image), kept);
}

TEST_P(Populate, AReadThatCannotBeKeptStillGetsItsData) {
  const Chain chain(GetParam());
  const auto image = chain.open();
  image->set_copy_on_read(true);
  chain.file->fail_writes = true;
  if (chain.data != nullptr) chain.data->fail_writes = true;
  std::vector<std::byte> shown(kCluster);
  ASSERT_OK(image->read({0}, shown));
  EXPECT_EQ(shown, std::vector<std::byte>(kCluster, std::byte{0x11}));
  EXPECT_EQ(image->activity().copy_on_read_failures, 1U);
  chain.file->fail_writes = false;
  if (chain.data != nullptr) chain.data->fail_writes = false;
  ASSERT_OK(image->read({0}, shown));
  ASSERT_OK(image->close());
}

TEST_P(Populate, RefusesPartsOfClusters) {
  const Chain chain(GetParam());
  const auto image = chain.open();
  const auto refused = image->populate({{512}, 4096}, nullptr);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is(EINVAL));
}

std::vector<Shape> shapes_over_a_backing_file() {
  std::vector<Shape> out;
  for (const auto& shape : test::shapes()) {
    if (shape.backing && shape.options.at("cluster_size") == "4096") out.push_back(shape);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Populate, testing::ValuesIn(shapes_over_a_backing_file()),
                         [](const auto& shape) { return shape.param.name; });

TEST(PopulateToABase, LeavesWhatTheBaseHasAndHidesItWhereAMiddleLayerEnds) {
  // top, then a middle layer that is shorter and has cluster 1 as data and cluster 2 as zero, then the base.
  const Shape overlay{.name = "overlay", .options = {{"cluster_size", "4096"}}, .backing = true};
  const auto top = ShapedImage::create(overlay, kSize);
  const auto middle = ShapedImage::create(overlay, 10 * kCluster);
  const auto base = Chain::make_base();
  {
    Layers layers;
    layers.push_back(make_layer("middle", must(middle.open(true))));
    const auto image = make_image(std::move(layers), {.writable = true});
    ASSERT_OK(image->write({kCluster}, std::vector<std::byte>(kCluster, std::byte{0x22})));
    ASSERT_OK(image->write_zeroes({{2 * kCluster}, kCluster}, Zeroing::may_unmap));
    ASSERT_OK(image->close());
  }
  const auto open = [&](bool with_middle) {
    Layers layers;
    layers.push_back(make_layer("top", must(top.open(true))));
    if (with_middle) layers.push_back(make_layer("middle", must(middle.open(false))));
    layers.push_back(make_layer("base", must(must(find_format("raw"))->open(base, {}))));
    return make_image(std::move(layers), {.writable = true});
  };
  std::vector<std::byte> before(kSize);
  {
    const auto image = open(true);
    ASSERT_OK(image->read({0}, before));
    std::weak_ptr<const Layer> middle_layer = must(image->layers())[1].layer;
    const auto kept = must(image->layers())[2].layer;
    ASSERT_OK(image->populate({{0}, kSize}, kept.get()));
    EXPECT_EQ(must(image->extent({{0}, kCluster})).depth, 2U) << "cluster 0 is the base's";
    EXPECT_EQ(must(image->extent({{kCluster}, kCluster})).depth, 0U);
    ASSERT_OK(image->drop_backing(kept.get()));
    EXPECT_EQ(image->layer_count(), 2U);
    EXPECT_TRUE(middle_layer.expired()) << "it is still open";
    std::vector<std::byte> shown(kSize);
    ASSERT_OK(image->read({0}, shown));
    EXPECT_EQ(shown, before);
    ASSERT_OK(image->close());
  }
  const auto image = open(false);
  std::vector<std::byte> shown(kSize);
  ASSERT_OK(image->read({0}, shown));
  EXPECT_EQ(shown, before);
}

}  // namespace
}  // namespace penstock
