// SPDX-License-Identifier: Apache-2.0
// What a request pays before its data moves: the lookup in a qcow2 image's tables, in the flattened map of a chain, and
// room for a new cluster.
#include <penstock/executor.hpp>
#include <penstock/image.hpp>

#include "tests/support/expect.hpp"
#include "tests/support/forwarding_storage.hpp"
#include "tests/support/layered.hpp"

#include <benchmark/benchmark.h>

#include <cstring>

namespace penstock {
namespace {

using test::Below;
using test::Layered;
using test::must;
using test::Random;

constexpr std::uint64_t kSize = 64U << 20U;
constexpr std::uint64_t kCluster = 64U << 10U;

Layered layered(Below below, std::uint64_t size = kSize) {
  Random random("lookup_bench");
  auto made =
      Layered::create({.name = "qcow2", .options = {{"cluster_size", "65536"}}, .backing = true}, below, size, random);
  return std::move(made).value();
}

/// The mapping of one cluster after the other, in the top layer.
void l2_lookup(benchmark::State& state) {
  auto layers = layered(Below::raw);
  const auto image = layers.open(true);
  std::vector<std::byte> cluster(kCluster, std::byte{1});
  for (std::uint64_t at = 0; at < kSize; at += kCluster) must(image->write({at}, cluster));
  must(image->close());
  const auto driver = must(layers.top.open(false));
  std::uint64_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(driver->map({{at}, 4096}));
    at = (at + 37 * kCluster) % kSize;
  }
}
BENCHMARK(l2_lookup);

/// 4 KiB of data from the layers below: the flattened map, and a copy in memory.
void flat_map_read(benchmark::State& state, Below below) {
  auto layers = layered(below);
  const auto image = layers.open(false);
  std::vector<std::byte> out(4096);
  std::uint64_t at = 0;
  for (auto _ : state) {
    must(image->read({at}, out));
    at = (at + 37 * kCluster) % kSize;
  }
}
BENCHMARK_CAPTURE(flat_map_read, one_layer_below, Below::raw);
BENCHMARK_CAPTURE(flat_map_read, chain_below, Below::chain);

/// A new cluster for each write: reserve, fill, publish.
void allocate(benchmark::State& state) {
  std::vector<std::byte> cluster(kCluster, std::byte{1});
  std::uint64_t at = kSize;
  std::optional<Layered> layers;
  std::unique_ptr<Image> image;
  for (auto _ : state) {
    if (at == kSize) {
      state.PauseTiming();
      if (image) must(image->close());
      layers.emplace(layered(Below::raw));
      image = layers->open(true);
      at = 0;
      state.ResumeTiming();
    }
    must(image->write({at}, cluster));
    at += kCluster;
  }
}
BENCHMARK(allocate);

/// What a storage held, without a lock: so that only the engine's own are measured.
class Frozen final : public test::ForwardingStorage {
 public:
  explicit Frozen(std::shared_ptr<Storage> inner) : ForwardingStorage(std::move(inner)) {
    bytes_.resize(must(this->inner().size()));
    must(this->inner().read({0}, bytes_));
  }
  Result<> read(HostOffset offset, std::span<std::byte> out) override {
    if (!fits(offset.value, out.size(), bytes_.size())) return inner().read(offset, out);
    std::memcpy(out.data(), bytes_.data() + offset.value, out.size());
    return {};
  }

 private:
  std::vector<std::byte> bytes_;
};

// As a real disk has: threads that all ask one chunk of the flattened map would share its lock.
constexpr std::uint64_t kManyChunks = 256U << 20U;

/// Nothing serialises: reads on many threads at once, each of its own part. Where there are cores, the rate grows with
/// the threads.
void reads_side_by_side(benchmark::State& state) {
  static std::optional<Layered> layers;
  static std::unique_ptr<Image> image;
  if (state.thread_index() == 0) {
    layers.emplace(layered(Below::chain, kManyChunks));
    layers->top.file = std::make_shared<Frozen>(layers->top.file);
    for (auto& layer : layers->below) layer.file = std::make_shared<Frozen>(layer.file);
    image = layers->open(false);
  }
  std::vector<std::byte> out(4096);
  auto at = static_cast<std::uint64_t>(state.thread_index()) * kCluster % kManyChunks;
  for (auto _ : state) {
    must(image->read({at}, out));
    at = (at + 37 * kCluster) % kManyChunks;
  }
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() == 0) image.reset();
}
BENCHMARK(reads_side_by_side)->Threads(1)->Threads(2)->Threads(4)->Threads(16)->UseRealTime();

}  // namespace
}  // namespace penstock

BENCHMARK_MAIN();
