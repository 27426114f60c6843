// SPDX-License-Identifier: Apache-2.0
#include <penstock/image.hpp>

#include "format/raw/raw_driver.hpp"
#include "image/layer.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/fake_driver.hpp"
#include "tests/support/faulty_storage.hpp"
#include "tests/support/model_disk.hpp"

#include <atomic>
#include <thread>
#include <vector>

namespace penstock {
namespace {

using test::FakeDriver;
using test::FakeOptions;
using test::must;

std::vector<std::byte> filled(std::uint64_t length, unsigned value) {
  return std::vector<std::byte>(length, std::byte(value));
}

/// A chain of drivers, the first of which is the top.
struct Chain {
  template <typename Driver>
  Driver& add(std::unique_ptr<Driver> driver) {
    auto& reference = *driver;
    layers.push_back(make_layer("layer" + std::to_string(layers.size()), std::move(driver)));
    return reference;
  }
  FakeDriver& fake(const FakeOptions& options) { return add(std::make_unique<FakeDriver>(options)); }
  std::unique_ptr<Image> open(bool writable = true) {
    return make_image(std::move(layers), {.writable = writable, .cache_bytes = 4U << 20U});
  }
  Layers layers;
};

std::vector<std::byte> read(Image& image, std::uint64_t offset, std::uint64_t length) {
  std::vector<std::byte> out(length, std::byte{0xcc});
  must(image.read({offset}, out));
  return out;
}

void expect_filled(Image& image, GuestRange range, unsigned value) {
  EXPECT_EQ(read(image, range.offset.value, range.length), filled(range.length, value))
      << "at " << range.offset.value << " + " << range.length;
}

TEST(Image, RequestsPastTheEndAreInvalidAndChangeNothing) {
  Chain chain;
  auto& top = chain.fake({.size = 10000});
  const auto image = chain.open();
  auto bytes = filled(2, 1);
  EXPECT_ERRNO(image->read({9999}, bytes), EINVAL);
  EXPECT_ERRNO(image->write({9999}, bytes), EINVAL);
  EXPECT_ERRNO(image->write({UINT64_MAX}, bytes), EINVAL);
  EXPECT_ERRNO(image->write_zeroes({{0}, 10001}, Zeroing::may_unmap), EINVAL);
  EXPECT_ERRNO(image->discard({{10000}, 1}), EINVAL);
  EXPECT_ERRNO(image->allocate({{5000}, UINT64_MAX}), EINVAL);
  EXPECT_ERRNO(image->extent({{9999}, 2}), EINVAL);
  EXPECT_EQ(top.begins, 0U);
}

TEST(Image, AReadOnlyImageIsNotChanged) {
  Chain chain;
  auto& top = chain.fake({});
  const auto image = chain.open(false);
  const auto bytes = filled(512, 1);
  EXPECT_ERRNO(image->write({0}, bytes), EROFS);
  EXPECT_ERRNO(image->write_zeroes({{0}, 512}, Zeroing::keep), EROFS);
  EXPECT_ERRNO(image->discard({{0}, 512}), EROFS);
  EXPECT_ERRNO(image->allocate({{0}, 512}), EROFS);
  EXPECT_ERRNO(image->resize(512), EROFS);
  EXPECT_OK(image->flush());
  EXPECT_EQ(top.begins, 0U);
}

TEST(Image, TheFirstChangeIsAnnouncedOnce) {
  Chain chain;
  auto& top = chain.fake({});
  top.put_data({{0}, 4096}, filled(4096, 1));
  const auto image = chain.open();
  read(*image, 0, 4096);
  EXPECT_OK(image->flush());
  EXPECT_OK(image->write({0}, {}));
  EXPECT_EQ(top.begins, 0U);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 8; ++i) {
    threads.emplace_back([&image, i] { EXPECT_OK(image->write({i * 512ULL}, filled(512, i))); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(top.begins, 1U);
  EXPECT_EQ(top.unannounced_changes, 0U);
}

TEST(Image, CopyOnWriteKeepsWhatIsAround) {
  for (const bool odd : {false, true}) {
    Chain chain;
    chain.fake({.cluster_size = 65536, .unit = 4096, .odd_reservations = odd});
    auto& base = chain.fake({});
    base.put_data({{0}, 262144}, filled(262144, 7));
    const auto image = chain.open();
    EXPECT_OK(image->write({65536 + 100}, filled(5000, 9)));
    expect_filled(*image, {{0}, 65536 + 100}, 7);
    expect_filled(*image, {{65536 + 100}, 5000}, 9);
    expect_filled(*image, {{65536 + 5100}, 262144 - 65536 - 5100}, 7);
    expect_filled(*image, {{262144}, 4096}, 0);
  }
}

TEST(Image, AClusterSharedWithASnapshotIsCopied) {
  Chain chain;
  auto& top = chain.fake({});
  top.put_data({{0}, 4096}, filled(4096, 3), false);
  const auto shared = must(top.map({{0}, 4096}));
  const auto image = chain.open();
  EXPECT_OK(image->write({512}, filled(512, 4)));
  expect_filled(*image, {{0}, 512}, 3);
  expect_filled(*image, {{512}, 512}, 4);
  std::vector<std::byte> old(4096);
  must(shared.storage->read(shared.host_offset, old));
  EXPECT_EQ(old, filled(4096, 3));
}

TEST(Image, AWriteIntoACompressedClusterUnpacksIt) {
  Chain chain;
  auto& top = chain.fake({.cluster_size = 65536, .unit = 65536, .compressed = true});
  top.put_compressed({0}, filled(65536, 5));
  const auto image = chain.open();
  EXPECT_OK(image->write({1000}, filled(10, 6)));
  EXPECT_EQ(top.kind_at({0}), MappingKind::data);
  expect_filled(*image, {{0}, 1000}, 5);
  expect_filled(*image, {{1000}, 10}, 6);
  expect_filled(*image, {{1010}, 65536 - 1010}, 5);
}

TEST(Image, APartialWriteIntoAZeroClusterDoesNotShowTheBackingFile) {
  Chain chain;
  auto& top = chain.fake({});
  top.put_zero({{0}, 4096});
  chain.fake({}).put_data({{0}, 4096}, filled(4096, 7));
  const auto image = chain.open();
  EXPECT_OK(image->write({512}, filled(512, 1)));
  expect_filled(*image, {{0}, 512}, 0);
  expect_filled(*image, {{512}, 512}, 1);
  expect_filled(*image, {{1024}, 3072}, 0);
}

TEST(Image, BehindAShorterLayerIsZeroEvenIfALowerOneIsLonger) {
  Chain chain;
  chain.fake({.size = 65536});
  chain.fake({.size = 10000});
  chain.fake({.size = 65536}).put_data({{0}, 65536}, filled(65536, 8));
  const auto image = chain.open();
  expect_filled(*image, {{0}, 10000}, 8);
  expect_filled(*image, {{10000}, 65536 - 10000}, 0);
  EXPECT_OK(image->write({9000}, filled(2, 1)));  // copies a cluster that the end lies in
  expect_filled(*image, {{9002}, 998}, 8);
  expect_filled(*image, {{10000}, 4096}, 0);
}

TEST(Image, AFailingClusterFailsAlone) {
  Chain chain;
  chain.fake({});
  auto& base = chain.fake({});
  base.put_data({{0}, 65536}, filled(65536, 1));
  base.break_map({{8192}, 4096});
  const auto image = chain.open();
  std::vector<std::byte> out(4096);
  EXPECT_OK(image->read({4096}, out));
  const auto broken = image->read({8192}, out);
  EXPECT_ERRNO(broken, EUCLEAN);
  EXPECT_EQ(broken.error().message(), "layer1: broken for the test");
  EXPECT_OK(image->read({12288}, out));
  EXPECT_ERRNO(image->write({8192}, filled(10, 1)), EUCLEAN);
  EXPECT_OK(image->write({8192}, filled(4096, 2)));  // covers it: nothing of the broken cluster is needed
  expect_filled(*image, {{8192}, 4096}, 2);
}

TEST(Image, ZeroesHideTheBackingFileWhateverTheFormatCan) {
  for (const bool zero_units : {true, false}) {
    for (const bool odd : {false, true}) {
      Chain chain;
      chain.fake({.cluster_size = 16384, .zero_units = zero_units, .odd_reservations = odd});
      chain.fake({}).put_data({{0}, 1U << 20U}, filled(1U << 20U, 7));
      const auto image = chain.open();
      EXPECT_OK(image->write_zeroes({{1000}, 100000}, Zeroing::may_unmap));
      expect_filled(*image, {{0}, 1000}, 7);
      expect_filled(*image, {{1000}, 100000}, 0);
      expect_filled(*image, {{101000}, 50000}, 7);
    }
  }
}

TEST(Image, ZeroingWhatReadsZeroAllocatesNothing) {
  Chain chain;
  auto& top = chain.fake({.zero_units = false});
  chain.fake({}).put_zero({{0}, 65536});
  const auto image = chain.open();
  EXPECT_OK(image->write_zeroes({{100}, 900000}, Zeroing::may_unmap));
  EXPECT_EQ(top.publishes, 0U);
}

TEST(Image, AnEdgeWhoseClusterIsZeroOtherwiseMakesAZeroCluster) {
  Chain chain;
  auto& top = chain.fake({.cluster_size = 65536, .unit = 65536});
  chain.fake({}).put_data({{4096}, 4096}, filled(4096, 7));
  const auto image = chain.open();
  EXPECT_OK(image->write_zeroes({{4096}, 4096}, Zeroing::may_unmap));
  EXPECT_EQ(top.kind_at({0}), MappingKind::zero);
  EXPECT_EQ(top.publishes, 0U);
}

TEST(Image, TheLastPartialClusterCountsAsWhole) {
  Chain chain;
  auto& top = chain.fake({.size = 10000, .cluster_size = 4096});
  top.put_data({{8192}, 4096}, filled(4096, 1));
  const auto image = chain.open();
  EXPECT_OK(image->write_zeroes({{8192}, 10000 - 8192}, Zeroing::may_unmap));
  EXPECT_EQ(top.kind_at({8192}), MappingKind::zero);
}

TEST(Image, ZeroesOfManyGiBTakeNoMemory) {
  constexpr std::uint64_t kSize = 6ULL << 30U;
  Chain chain;
  chain.fake({.size = kSize, .cluster_size = 2U << 20U, .unit = 2U << 20U});
  chain.fake({.size = kSize, .cluster_size = 2U << 20U, .unit = 2U << 20U})
      .put_data({{5ULL << 30U}, 2U << 20U}, filled(2U << 20U, 1));
  const auto image = chain.open();
  EXPECT_OK(image->write_zeroes({{1}, kSize - 2}, Zeroing::may_unmap));
  expect_filled(*image, {{5ULL << 30U}, 65536}, 0);
}

TEST(Image, DiscardForgetsWholeClustersOnly) {
  Chain chain;
  auto& top = chain.fake({.size = 65536});
  top.put_data({{0}, 65536}, filled(65536, 1));
  const auto image = chain.open();
  EXPECT_OK(image->discard({{100}, 8192}));
  expect_filled(*image, {{0}, 4096}, 1);
  expect_filled(*image, {{4096}, 4096}, 0);
  expect_filled(*image, {{8192}, 57344}, 1);
}

TEST(Image, AllocateKeepsContentsAndPutsEveryByteInPlace) {
  for (const bool odd : {false, true}) {
    Chain chain;
    auto& top = chain.fake({.cluster_size = 65536, .unit = 4096, .compressed = true, .odd_reservations = odd});
    top.put_compressed({65536}, filled(65536, 2));
    top.put_zero({{131072}, 65536});
    top.put_data({{196608}, 4096}, filled(4096, 3), false);
    chain.fake({}).put_data({{0}, 8192}, filled(8192, 7));
    const auto image = chain.open();
    EXPECT_OK(image->allocate({{0}, 1U << 20U}));
    for (std::uint64_t at = 0; at < (1U << 20U); at += 4096) EXPECT_EQ(top.kind_at({at}), MappingKind::data);
    expect_filled(*image, {{0}, 8192}, 7);
    expect_filled(*image, {{8192}, 57344}, 0);
    expect_filled(*image, {{65536}, 65536}, 2);
    expect_filled(*image, {{131072}, 65536}, 0);
    expect_filled(*image, {{196608}, 4096}, 3);
    expect_filled(*image, {{200704}, (1U << 20U) - 200704}, 0);
  }
}

TEST(Image, GrowthReadsAsZeroOverGarbageAndALongerBackingFile) {
  for (const bool allocated : {false, true}) {
    Chain chain;
    auto& top = chain.fake({.size = 5000, .cluster_size = 65536, .unit = 65536});
    if (allocated) top.put_data({{0}, 65536}, filled(65536, 9));
    chain.fake({}).put_data({{0}, 1U << 20U}, filled(1U << 20U, 7));
    const auto image = chain.open();
    EXPECT_OK(image->resize(500000));
    EXPECT_EQ(image->virtual_size(), 500000U);
    expect_filled(*image, {{0}, 5000}, allocated ? 9 : 7);
    expect_filled(*image, {{5000}, 495000}, 0);
  }
}

TEST(Image, ShrinkingAndGrowingAgainDropsWhatWasBehind) {
  Chain chain;
  auto& top = chain.fake({.size = 100000});
  top.put_data({{0}, 102400}, filled(102400, 9));
  const auto image = chain.open();
  EXPECT_OK(image->resize(6000));
  auto bytes = filled(1, 0);
  EXPECT_ERRNO(image->read({6000}, bytes), EINVAL);
  EXPECT_OK(image->resize(100000));
  expect_filled(*image, {{0}, 6000}, 9);
  expect_filled(*image, {{6000}, 94000}, 0);
}

TEST(Image, ExtentsTellWhichLayerAnswers) {
  Chain chain;
  auto& top = chain.fake({.size = 400000});
  top.put_data({{0}, 4096}, filled(4096, 1));
  top.put_data({{4096}, 4096}, filled(4096, 1));  // joined: next in the file too
  top.put_zero({{8192}, 4096});
  auto& base = chain.fake({.size = 20000, .compressed = true});
  base.put_compressed({12288}, filled(4096, 1));
  const auto image = chain.open();
  const auto data = must(image->extent({{0}, 400000}));
  EXPECT_EQ(data.guest, (GuestRange{{0}, 8192}));
  EXPECT_EQ(data.kind, ExtentKind::data);
  EXPECT_EQ(data.host_offset.value, 4096U);
  EXPECT_TRUE(data.present);
  const auto zero = must(image->extent({{8192}, 391808}));
  EXPECT_EQ(zero.guest.length, 4096U);
  EXPECT_EQ(zero.kind, ExtentKind::zero);
  EXPECT_TRUE(zero.present);
  const auto compressed = must(image->extent({{12288}, 387712}));
  EXPECT_EQ(compressed.kind, ExtentKind::compressed);
  EXPECT_EQ(compressed.depth, 1U);
  const auto nothing = must(image->extent({{16384}, 383616}));
  EXPECT_EQ(nothing.guest.length, 20000U - 16384);
  EXPECT_EQ(nothing.kind, ExtentKind::unallocated);
  EXPECT_EQ(nothing.depth, 1U);
  EXPECT_FALSE(nothing.present);
  const auto behind = must(image->extent({{20000}, 380000}));
  EXPECT_EQ(behind.guest.length, 380000U);
  EXPECT_EQ(behind.depth, 0U);
  EXPECT_FALSE(behind.present);
}

TEST(Image, HolesOfARawFileAreZeroExtents) {
  const auto storage = std::make_shared<MemoryStorage>();
  must(storage->write({0}, filled(4096, 1)));
  must(storage->truncate(1U << 20U));
  Chain chain;
  chain.add(std::make_unique<RawDriver>(storage, 1U << 20U));
  const auto image = chain.open();
  EXPECT_EQ(must(image->extent({{0}, 1U << 20U})).guest.length, 4096U);
  const auto hole = must(image->extent({{4096}, (1U << 20U) - 4096}));
  EXPECT_EQ(hole.kind, ExtentKind::zero);
  EXPECT_TRUE(hole.present);
  EXPECT_EQ(hole.host_offset.value, 4096U);
  EXPECT_EQ(hole.guest.length, (1U << 20U) - 4096);
}

TEST(Image, RawZeroesThatMayUnmapPunchHoles) {
  const auto storage = std::make_shared<MemoryStorage>();
  must(storage->write({0}, filled(1U << 20U, 1)));
  Chain chain;
  chain.add(std::make_unique<RawDriver>(storage, 1U << 20U));
  const auto image = chain.open();
  EXPECT_OK(image->write_zeroes({{1000}, 900000}, Zeroing::may_unmap));
  expect_filled(*image, {{0}, 1000}, 1);
  expect_filled(*image, {{1000}, 900000}, 0);
  EXPECT_LT(must(image->allocated_bytes()), 300000U);
}

TEST(Image, HolesOfARawBackingFileAreNotCopiedUp) {
  const auto storage = std::make_shared<MemoryStorage>();
  must(storage->truncate(1U << 20U));
  Chain chain;
  auto& top = chain.fake({.cluster_size = 65536, .unit = 65536});
  chain.add(std::make_unique<RawDriver>(storage, 1U << 20U));
  const auto image = chain.open();
  EXPECT_OK(image->write({100}, filled(10, 1)));
  EXPECT_LE(must(top.storage().allocated_bytes()), 8192U);
}

TEST(Image, AFailedWriteLeavesTheOldContents) {
  const auto faulty = std::make_shared<test::FaultyStorage>(std::make_shared<MemoryStorage>());
  must(faulty->write({0}, filled(65536, 1)));
  Chain chain;
  chain.add(std::make_unique<RawDriver>(faulty, 65536));
  const auto image = chain.open();
  faulty->arm({.kinds = test::FaultyStorage::writes, .number = ENOSPC});
  const auto failed = image->write({0}, filled(512, 2));
  EXPECT_ERRNO(failed, ENOSPC);
  EXPECT_TRUE(failed.error().message().starts_with("layer0: ")) << failed.error().message();
  expect_filled(*image, {{0}, 65536}, 1);
}

TEST(Image, AfterCloseEveryCallFails) {
  Chain chain;
  chain.fake({.size = 5000});
  const auto image = chain.open();
  EXPECT_OK(image->write({0}, filled(10, 1)));
  EXPECT_OK(image->close());
  auto bytes = filled(10, 1);
  EXPECT_ERRNO(image->read({0}, bytes), EBADF);
  EXPECT_ERRNO(image->write({0}, bytes), EBADF);
  EXPECT_ERRNO(image->flush(), EBADF);
  EXPECT_ERRNO(image->extent({{0}, 1}), EBADF);
  EXPECT_ERRNO(image->layers(), EBADF);
  EXPECT_ERRNO(image->resize(1), EBADF);
  EXPECT_ERRNO(image->close(), EBADF);
  EXPECT_EQ(image->virtual_size(), 5000U);
}

TEST(Image, OverlappingWritesTakeTurns) {
  Chain chain;
  chain.fake({.cluster_size = 65536, .unit = 4096, .odd_reservations = true});
  const auto image = chain.open();
  std::vector<std::thread> threads;
  for (unsigned i = 1; i <= 8; ++i) {
    threads.emplace_back([&image, i] {
      for (int turn = 0; turn < 50; ++turn) EXPECT_OK(image->write({60000}, filled(20000, i)));
    });
  }
  std::atomic<bool> torn{false};
  threads.emplace_back([&] {
    for (int turn = 0; turn < 200; ++turn) {
      const auto seen = read(*image, 60000, 20000);
      if (seen != filled(20000, std::to_integer<unsigned>(seen[0]))) torn = true;
    }
  });
  for (auto& thread : threads) thread.join();
  EXPECT_FALSE(torn);
}

}  // namespace
}  // namespace penstock
