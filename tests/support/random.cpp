// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace penstock::test {

namespace {

std::optional<std::uint64_t> given_seed(const char* variable) {
  const char* const given = std::getenv(variable);
  if (given == nullptr || *given == '\0') return std::nullopt;
  return std::strtoull(given, nullptr, 0);
}

std::uint64_t choose_seed() {
  return given_seed("PENSTOCK_SEED").value_or(std::random_device{}());
}

Random announced(std::string_view who, const char* variable, std::uint64_t seed) {
  std::printf("%.*s: %s=%llu\n", static_cast<int>(who.size()), who.data(), variable,
              static_cast<unsigned long long>(seed));
  // Seen even when the test crashes.
  static_cast<void>(std::fflush(stdout));
  return Random(seed);
}

}  // namespace

Random::Random(std::string_view who) : Random(announced(who, "PENSTOCK_SEED", choose_seed())) {}

Random fresh_random(std::string_view who) {
  const auto given = given_seed("PENSTOCK_FRESH_SEED");
  return given ? announced(who, "PENSTOCK_FRESH_SEED", *given) : Random(who);
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
