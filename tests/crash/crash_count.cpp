// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/crash_count.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace penstock::test {

namespace {

constexpr std::size_t kDefaultImages = 10'000;

std::atomic<std::size_t>& examined() {
  static std::atomic<std::size_t> count{0};
  return count;
}

class PrintsTheCount final : public testing::Environment {
 public:
  void TearDown() override { std::printf("%zu crash images examined\n", examined().load()); }
};

// gtest owns it.
const auto* const kPrinter = testing::AddGlobalTestEnvironment(new PrintsTheCount);

}  // namespace

std::size_t crash_images_of(std::size_t cases, unsigned percent) {
  const char* const given = std::getenv("PENSTOCK_CRASH_IMAGES");
  const std::size_t all = given == nullptr ? kDefaultImages : std::strtoull(given, nullptr, 0);
  return std::max<std::size_t>(1, all * percent / 100 / cases);
}

void count_crash_image() {
  ++examined();
}

}  // namespace penstock::test
