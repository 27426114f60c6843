// SPDX-License-Identifier: Apache-2.0
#include "image/flat_map.hpp"
#include "image/layer.hpp"

#include "format/raw/raw_driver.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/fake_driver.hpp"

#include <thread>
#include <vector>

namespace penstock {
namespace {

using test::FakeDriver;
using test::FakeOptions;

/// A chain of fake layers below a top that is never asked.
class Chain {
 public:
  Chain() { add({}); }
  FakeDriver& add(const FakeOptions& options) {
    auto driver = std::make_unique<FakeDriver>(options);
    auto& reference = *driver;
    layers.push_back(make_layer(concat("layer", layers.size()), std::move(driver)));
    return reference;
  }
  static std::string concat(const char* word, std::size_t number) { return word + std::to_string(number); }
  Layers layers;
};

std::vector<std::byte> some(std::uint64_t length) {
  return std::vector<std::byte>(length, std::byte{1});
}

TEST(FlatMap, WithoutLowerLayersThereIsNothing) {
  Chain chain;
  FlatMap map(chain.layers, 1U << 20U);
  const auto run = *map.find({{12345}, 1ULL << 40U});
  EXPECT_EQ(run.kind, FlatKind::nothing);
  EXPECT_EQ(run.length, 1ULL << 40U);
}

TEST(FlatMap, TheUpperLayerWins) {
  Chain chain;
  auto& upper = chain.add({});
  auto& lower = chain.add({});
  lower.put_data({{0}, 65536}, some(65536));
  upper.put_data({{4096}, 4096}, some(4096));
  upper.put_zero({{8192}, 4096});
  FlatMap map(chain.layers, 1U << 20U);
  EXPECT_EQ(map.find({{0}, 1})->depth, 2U);
  const auto data = *map.find({{5000}, 65536});
  EXPECT_EQ(data.kind, FlatKind::data);
  EXPECT_EQ(data.depth, 1U);
  EXPECT_EQ(data.length, 8192U - 5000);
  EXPECT_EQ(data.host_offset.value, 4096U + 904);
  EXPECT_EQ(map.find({{8192}, 65536})->kind, FlatKind::zero);
  EXPECT_EQ(map.find({{8192}, 65536})->length, 4096U);
  const auto below = *map.find({{12288}, 1U << 20U});
  EXPECT_EQ(below.depth, 2U);
  EXPECT_EQ(below.length, 65536U - 12288);
  EXPECT_EQ(below.host_offset.value, 4096U + 12288);
}

TEST(FlatMap, BehindTheEndOfALayerNothingShowsToTheByte) {
  Chain chain;
  chain.add({.size = 102500});
  auto& lower = chain.add({.size = 1U << 20U});
  lower.put_data({{0}, 1U << 20U}, some(1U << 20U));
  FlatMap map(chain.layers, 1U << 20U);
  EXPECT_EQ(map.find({{102400}, 65536})->kind, FlatKind::data);
  EXPECT_EQ(map.find({{102400}, 65536})->length, 100U);
  EXPECT_EQ(map.find({{102500}, 65536})->kind, FlatKind::nothing);
}

TEST(FlatMap, LayersOfDifferentClustersAndSubclusters) {
  Chain chain;
  auto& fine = chain.add({.cluster_size = 65536, .unit = 2048});
  auto& coarse = chain.add({.cluster_size = 262144, .unit = 262144, .compressed = true});
  coarse.put_compressed({0}, some(262144));
  fine.put_data({{2048}, 2048}, some(2048));
  FlatMap map(chain.layers, 1U << 20U);
  EXPECT_EQ(map.find({{0}, 65536})->kind, FlatKind::compressed);
  EXPECT_EQ(map.find({{0}, 65536})->length, 2048U);
  EXPECT_EQ(map.find({{2048}, 65536})->kind, FlatKind::data);
  const auto rest = *map.find({{4096}, 1U << 20U});
  EXPECT_EQ(rest.kind, FlatKind::compressed);
  EXPECT_EQ(rest.depth, 2U);
  EXPECT_EQ(rest.length, 262144U - 4096);
}

TEST(FlatMap, ALayerIsAskedOnceHoweverDeep) {
  Chain chain;
  std::vector<FakeDriver*> drivers;
  for (int i = 0; i < 64; ++i) drivers.push_back(&chain.add({}));
  drivers.back()->put_data({{0}, 1U << 20U}, some(1U << 20U));
  FlatMap map(chain.layers, 1U << 20U);
  for (std::uint64_t at = 0; at < (1U << 20U); at += 4096) EXPECT_EQ(map.find({{at}, 4096})->depth, 64U);
  for (auto* driver : drivers) EXPECT_EQ(driver->maps, 1U);
}

TEST(FlatMap, DamageStaysInItsClusterAndIsAskedAgain) {
  Chain chain;
  auto& lower = chain.add({});
  lower.put_data({{0}, 65536}, some(65536));
  lower.break_map({{8192}, 10});
  FlatMap map(chain.layers, 1U << 20U);
  EXPECT_EQ(map.find({{0}, 65536})->length, 8192U);
  const auto broken = *map.find({{8192}, 65536});
  EXPECT_EQ(broken.kind, FlatKind::ask);
  EXPECT_EQ(broken.depth, 1U);
  EXPECT_EQ(broken.length, 4096U);
  EXPECT_EQ(map.find({{12288}, 65536})->kind, FlatKind::data);
}

TEST(FlatMap, MemoryStaysWithinTheBudget) {
  constexpr std::uint64_t kBudget = 256U << 10U;
  Chain chain;
  auto& lower = chain.add({.size = 64U << 20U, .cluster_size = 512, .unit = 512});
  for (std::uint64_t at = 0; at < (64U << 20U); at += 4096) lower.put_zero({{at}, 512});
  FlatMap map(chain.layers, kBudget);
  for (std::uint64_t at = 0; at + 512 < (64U << 20U); at += 4096) {
    ASSERT_EQ(map.find({{at}, 4096})->kind, FlatKind::zero);
    ASSERT_EQ(map.find({{at + 512}, 4096})->length, 4096U - 512);
  }
  EXPECT_LE(map.bytes(), kBudget);
  EXPECT_GT(map.bytes(), 0U);
}

TEST(FlatMap, ManyThreadsGetTheSameAnswers) {
  Chain chain;
  auto& lower = chain.add({.size = 8U << 20U});
  for (std::uint64_t at = 0; at < (8U << 20U); at += 8192) lower.put_data({{at}, 4096}, some(4096));
  FlatMap map(chain.layers, 16U << 10U);  // small: parts are dropped and resolved again
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (std::uint64_t at = 0; at < (8U << 20U); at += 4096) {
        const auto run = *map.find({{at}, 100000});
        EXPECT_EQ(run.kind, at % 8192 == 0 ? FlatKind::data : FlatKind::nothing);
        EXPECT_EQ(run.length, 4096U);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace penstock
