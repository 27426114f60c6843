// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace penstock::test {

namespace {

std::uint64_t choose_seed() {
  if (const char* given = std::getenv("PENSTOCK_SEED"); given != nullptr && *given != '\0') {
    return std::strtoull(given, nullptr, 0);
  }
  return std::random_device{}();
}

}  // namespace

Random::Random(std::string_view who) : Random(choose_seed()) {
  std::printf("%.*s: PENSTOCK_SEED=%llu\n", static_cast<int>(who.size()), who.data(),
              static_cast<unsigned long long>(seed_));
  // Seen even when the test crashes.
  static_cast<void>(std::fflush(stdout));
}

void Random::fill(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const std::uint64_t word = next();
    const std::size_t piece = bytes.size() < sizeof word ? bytes.size() : sizeof word;
    std::memcpy(bytes.data(), &word, piece);
    bytes = bytes.subspan(piece);
  }
}

}  // namespace penstock::test
