// SPDX-License-Identifier: Apache-2.0
// A discard, or zeroes, that arrive while a write of the same cluster is under way: QEMU's bug of 1.0 to 10.2 freed the
// cluster that the write then linked.
#include <penstock/image.hpp>

#include "image/layer.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/forwarding_storage.hpp"
#include "tests/support/shape.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

namespace penstock {
namespace {

using test::must;
using test::Shape;
using test::ShapedImage;

constexpr std::uint64_t kSize = 1U << 20U;
constexpr GuestRange kCluster{{65536}, 65536};

/// Calls back when guest data of one byte value is written.
class HookedStorage final : public test::ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;
  Result<> write(HostOffset offset, std::span<const std::byte> in) override {
    if (before_data && std::ranges::count(in, std::byte{0x77}) >= 512) std::exchange(before_data, nullptr)();
    return inner().write(offset, in);
  }
  std::function<void()> before_data;
};

std::unique_ptr<Image> open_over(const ShapedImage& image, const std::shared_ptr<Storage>& file) {
  Layers layers;
  layers.push_back(make_layer("top", must(image.with(file, image.data).open(true))));
  return make_image(std::move(layers), {.writable = true});
}

class WriteBesideDiscard : public testing::TestWithParam<Shape> {};

TEST_P(WriteBesideDiscard, LeavesTheClusterOneOwner) {
  for (const bool discards : {true, false}) {
    const auto made = ShapedImage::create(GetParam(), kSize);
    const auto file = std::make_shared<HookedStorage>(made.file);
    const auto image = open_over(made, file);
    const std::vector<std::byte> old(kCluster.length, std::byte{0x11});
    must(image->write(kCluster.offset, old));
    // A zero cluster that keeps its host room: a write links it in place.
    must(image->write_zeroes(kCluster, Zeroing::keep));
    std::atomic<bool> other_done{false};
    bool overtook = false;
    std::jthread other;
    file->before_data = [&] {
      other = std::jthread([&] {
        must(discards ? image->discard(kCluster) : image->write_zeroes(kCluster, Zeroing::may_unmap));
        other_done = true;
      });
      // Time for it to go wrong in; when all is well it waits for us, however long that takes.
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      overtook = other_done;
    };
    const std::vector<std::byte> part(4096, std::byte{0x77});
    must(image->write(kCluster.offset + 8192, part));
    ASSERT_TRUE(other.joinable()) << "the write did not reach the storage";
    other.join();
    EXPECT_FALSE(overtook) << "a cluster was changed while it was being written";
    std::vector<std::byte> found(kCluster.length);
    must(image->read(kCluster.offset, found));
    const bool zero = std::ranges::all_of(found, [](std::byte byte) { return byte == std::byte{}; });
    const bool data = std::equal(part.begin(), part.end(), found.begin() + 8192);
    EXPECT_TRUE(zero || data);
    must(image->write(kCluster.offset + 8192, part));
    must(image->close());
    const auto report = must(made.check());
    EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Qcow2, WriteBesideDiscard,
                         testing::Values(Shape{.name = "v3"}, Shape{.name = "v2", .options = {{"compat", "0.10"}}},
                                         Shape{.name = "extended_l2",
                                               .options = {{"extended_l2", "on"}, {"cluster_size", "65536"}}},
                                         Shape{.name = "qed", .format = "qed"}),
                         [](const auto& shape) { return shape.param.name; });

}  // namespace
}  // namespace penstock
