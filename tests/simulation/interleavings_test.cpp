// SPDX-License-Identifier: Apache-2.0
// The meetings of two requests that peers got wrong, in many orders each: every call of the disk takes a while, in
// which the others go on. Each test asserts that the meeting took place. PENSTOCK_SEED: the first order.
#include "image/layer.hpp"
#include "tests/simulation/deterministic_threads.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/forwarding_storage.hpp"
#include "tests/support/model_disk.hpp"
#include "tests/support/random.hpp"
#include "tests/support/shape.hpp"

#include <penstock/clock.hpp>
#include <penstock/image.hpp>

#include <cstdio>
#include <thread>

namespace penstock::test {
namespace {

constexpr std::uint64_t kSize = 256U << 10U;
constexpr unsigned kOrders = 150;

/// What was seen to happen at the same time, on any of the disks.
struct Meetings {
  unsigned writes = 0;
  unsigned writes_in_flush = 0;
  unsigned writes_in_punch = 0;
  unsigned writes_in_read = 0;
};

/// Threads take turns: no lock is needed.
class SlowStorage final : public ForwardingStorage {
 public:
  SlowStorage(std::shared_ptr<Storage> inner, std::uint64_t seed, Meetings& meetings)
      : ForwardingStorage(std::move(inner)), random_(seed), meetings_(meetings) {}

  [[nodiscard]] Result<> read(HostOffset offset, std::span<std::byte> out) override {
    const auto wrote = meetings_.writes;
    TRY(inner().read(offset, out));
    pause();
    meetings_.writes_in_read += meetings_.writes != wrote ? 1 : 0;
    return {};
  }
  [[nodiscard]] Result<> write(HostOffset offset, std::span<const std::byte> in) override {
    pause();
    ++meetings_.writes;
    return inner().write(offset, in);
  }
  [[nodiscard]] Result<> discard(HostRange range) override {
    const auto wrote = meetings_.writes;
    pause();
    meetings_.writes_in_punch += meetings_.writes != wrote ? 1 : 0;
    return inner().discard(range);
  }
  [[nodiscard]] Result<> flush() override {
    const auto wrote = meetings_.writes;
    pause();
    meetings_.writes_in_flush += meetings_.writes != wrote ? 1 : 0;
    return inner().flush();
  }

 private:
  void pause() { system_clock().sleep_for(std::chrono::microseconds(random_.below(200))); }

  Random random_;
  Meetings& meetings_;
};

Shape shape_named(std::string_view name) {
  for (const Shape& shape : shapes()) {
    if (shape.name == name) return shape;
  }
  throw std::logic_error("no such shape");
}

/// An image over a base, both on slow disks, used by threads that each have a part of the disk, or share it.
class Interleavings : public testing::TestWithParam<const char*> {
 protected:
  struct Chain {
    ShapedImage top;
    std::unique_ptr<Image> image;
    ModelDisk model{kSize};
  };

  /// `each` is called for every order, inside the run; `chain` is closed and checked after it.
  template <typename Each>
  void in_many_orders(const Shape& shape, const char* who, Each&& each) {
    Random random(who);
    for (unsigned order = 0; order < kOrders && !HasFailure(); ++order) {
      const auto seed = random.seed() + order;
      SCOPED_TRACE("PENSTOCK_SEED=" + std::to_string(seed));
      Random own(seed);
      run_deterministically(
          {.seed = own.next(), .switch_percent = static_cast<unsigned>(own.between(1, 50))},
          [&] {
            Chain chain = open(shape, own);
            each(chain, own);
            close_and_check(chain);
          },
          [seed, who] { std::fprintf(stderr, "%s: PENSTOCK_SEED=%lu\n", who, seed); });
    }
  }

  Chain open(const Shape& shape, Random& random) {
    Chain chain;
    chain.top = ShapedImage::create(shape, kSize);
    const auto slow = [&](std::shared_ptr<Storage> storage) -> std::shared_ptr<Storage> {
      if (storage == nullptr) return nullptr;
      return std::make_shared<SlowStorage>(std::move(storage), random.next(), meetings_);
    };
    Layers layers;
    layers.push_back(make_layer("top", must(chain.top.with(slow(chain.top.file), slow(chain.top.data)).open(true))));
    if (shape.backing) {
      const auto base = ShapedImage::create({.name = "raw", .format = "raw"}, kSize);
      std::vector<std::byte> bytes(kSize);
      random.fill(bytes);
      must(base.file->write({0}, bytes));
      chain.model.write({0}, bytes);
      layers.push_back(make_layer("base", must(base.with(slow(base.file), nullptr).open(false))));
    }
    chain.image = make_image(std::move(layers), {.writable = true});
    return chain;
  }

  void close_and_check(Chain& chain) {
    std::vector<std::byte> shown(kSize);
    EXPECT_OK(chain.image->read({0}, shown));
    EXPECT_EQ(chain.model.difference({0}, shown), "");
    EXPECT_OK(chain.image->close());
    const auto report = chain.top.check();
    EXPECT_OK(report);
    EXPECT_EQ(report->corruptions + report->leaks + report->check_errors, 0U) << chain.top.findings();
  }

  static void write(Chain& chain, std::uint64_t at, std::uint64_t length, Random& random) {
    std::vector<std::byte> bytes(length);
    random.fill(bytes);
    EXPECT_OK(chain.image->write({at}, bytes));
    chain.model.write({at}, bytes);
  }

  Meetings meetings_;
};

TEST_P(Interleavings, AWriteBesideCopyOnReadOfItsClusterWins) {
  in_many_orders(shape_named(GetParam()), "CopyOnRead", [](Chain& chain, Random& random) {
    chain.image->set_copy_on_read(true);
    const auto cluster = chain.image->geometry().cluster_size;
    const auto at = random.below(kSize / cluster) * cluster;
    std::jthread reader([&chain, at, cluster] {
      std::vector<std::byte> bytes(cluster);
      EXPECT_OK(chain.image->read({at}, bytes));
    });
    std::jthread worker([&chain, at, cluster] { EXPECT_OK(chain.image->populate({{at}, cluster}, nullptr)); });
    write(chain, at + 512 * random.below(cluster / 512), 512, random);
    EXPECT_OK(chain.image->flush());
  });
  EXPECT_NE(meetings_.writes_in_read, 0U);
}

TEST_P(Interleavings, RoomGivenBackIsNotPunchedUnderItsNextOwner) {
  in_many_orders(shape_named(GetParam()), "Punch", [](Chain& chain, Random& random) {
    const auto cluster = chain.image->geometry().cluster_size;
    constexpr std::uint64_t kHalf = kSize / 2;
    write(chain, 0, kHalf, random);
    std::jthread forgetful([&chain, cluster, own = random.fork()]() mutable {
      for (int round = 0; round < 6; ++round) {
        const auto at = own.below(kHalf / cluster) * cluster;
        const GuestRange range{{at}, std::min(kHalf - at, own.between(1, 4) * cluster)};
        EXPECT_OK(chain.image->write_zeroes(range, Zeroing::may_unmap));
        chain.model.zero(range);
        EXPECT_OK(chain.image->flush());
      }
    });
    for (int round = 0; round < 16; ++round) {
      const auto at = kHalf + random.below(kHalf / cluster) * cluster;
      write(chain, at, cluster, random);
      if (round % 5 == 4) {
        EXPECT_OK(chain.image->flush());
      }
    }
  });
  EXPECT_NE(meetings_.writes_in_flush, 0U);
  const std::string_view shape = GetParam();
  const bool punches = shape == "v3_backing" || shape == "extended_l2_backing" || shape == "data_file_backing";
  if (punches) {
    EXPECT_NE(meetings_.writes_in_punch, 0U);
  }
}

TEST_P(Interleavings, ADiscardBesideAWriteLeavesTheClusterOneOwner) {
  in_many_orders(shape_named(GetParam()), "Discard", [](Chain& chain, Random& random) {
    const auto cluster = chain.image->geometry().cluster_size;
    const auto at = random.below(kSize / cluster) * cluster;
    write(chain, at, cluster, random);
    if (random.chance(50)) {
      EXPECT_OK(chain.image->write_zeroes({{at}, cluster}, Zeroing::keep));
      chain.model.zero({{at}, cluster});
    }
    std::jthread forgetful([&chain, at, cluster] {
      EXPECT_OK(chain.image->discard({{at}, cluster}));
      EXPECT_OK(chain.image->flush());
    });
    {
      std::vector<std::byte> bytes(512);
      random.fill(bytes);
      EXPECT_OK(chain.image->write({at + 512}, bytes));
    }
    forgetful.join();
    // Whichever came last decides; from now on it is what is shown.
    std::vector<std::byte> shown(cluster);
    EXPECT_OK(chain.image->read({at}, shown));
    chain.model.write({at}, shown);
    write(chain, at, 512, random);
  });
}

INSTANTIATE_TEST_SUITE_P(Shapes, Interleavings,
                         testing::Values("v2_backing", "v3_backing", "extended_l2_backing", "data_file_backing",
                                         "qed_backing", "add_cow_backing"),
                         [](const auto& param) { return std::string(param.param); });

class TableGrowth : public Interleavings {};

TEST_P(TableGrowth, BesideFlushesNeitherWaitsForEverNorLosesCounts) {
  in_many_orders(shape_named(GetParam()), "TableGrowth", [](Chain& chain, Random& random) {
    std::jthread flusher([&chain] {
      for (int round = 0; round < 12; ++round) EXPECT_OK(chain.image->flush());
    });
    std::jthread other([&chain, own = random.fork()]() mutable {
      for (std::uint64_t at = 0; at < kSize / 2; at += 16384) write(chain, at, 16384, own);
    });
    for (std::uint64_t at = kSize / 2; at < kSize; at += 16384) write(chain, at, 16384, random);
  });
  EXPECT_NE(meetings_.writes_in_flush, 0U);
}

INSTANTIATE_TEST_SUITE_P(Shapes, TableGrowth, testing::Values("v3_512", "v3_512_refcount64", "lazy_512"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace penstock::test
