// SPDX-License-Identifier: Apache-2.0
// How fast zeroes are told: every kernel of this processor beside memcmp(3) against itself and a loop over bytes, in
// cache (64 KiB), from memory (256 MiB), and on data whose first word tells.
#include "image/zero_scan.hpp"

#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

namespace penstock {
namespace {

bool by_memcmp(const std::byte* bytes, std::size_t length) {
  return bytes[0] == std::byte{0} && std::memcmp(bytes, bytes + 1, length - 1) == 0;
}

bool by_loop(const std::byte* bytes, std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    if (bytes[i] != std::byte{0}) return false;
  }
  return true;
}

void scan(benchmark::State& state, bool (*is_all_zero)(const std::byte*, std::size_t), std::size_t length, bool zero) {
  std::vector<std::byte> bytes(length);
  if (!zero) bytes[3] = std::byte{1};
  for (auto _ : state) benchmark::DoNotOptimize(is_all_zero(bytes.data(), bytes.size()));
  if (zero) state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * length));
}

void add(const std::string& name, bool (*is_all_zero)(const std::byte*, std::size_t)) {
  benchmark::RegisterBenchmark((name + "/64KiB").c_str(), scan, is_all_zero, std::size_t{64} << 10U, true);
  benchmark::RegisterBenchmark((name + "/256MiB").c_str(), scan, is_all_zero, std::size_t{256} << 20U, true);
  benchmark::RegisterBenchmark((name + "/data").c_str(), scan, is_all_zero, std::size_t{64} << 10U, false);
}

}  // namespace
}  // namespace penstock

int main(int count, char** arguments) {
  for (const auto& kernel : penstock::zero_kernels()) penstock::add(std::string(kernel.name), kernel.is_all_zero);
  penstock::add("memcmp", penstock::by_memcmp);
  penstock::add("loop", penstock::by_loop);
  benchmark::Initialize(&count, arguments);
  benchmark::RunSpecifiedBenchmarks();
}
