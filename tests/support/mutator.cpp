// SPDX-License-Identifier: Apache-2.0
#include "tests/support/mutator.hpp"

#include "base/endian.hpp"
#include "tests/support/expect.hpp"

#include <algorithm>
#include <array>

namespace penstock::test {

namespace {

constexpr std::uint64_t kHeaderBytes = 128;

std::uint64_t word_at(Storage& storage, std::uint64_t at, bool big) {
  std::array<std::byte, 8> bytes{};
  must(storage.read({at}, bytes));
  const std::span<const std::byte> in(bytes);
  return big ? load_be<std::uint64_t>(in, 0) : load_le<std::uint64_t>(in, 0);
}

void put_word(Storage& storage, std::uint64_t at, std::uint64_t value, bool big) {
  std::array<std::byte, 8> bytes{};
  const std::span<std::byte> out(bytes);
  big ? store_be(out, 0, value) : store_le(out, 0, value);
  must(storage.write({at}, bytes));
}

/// What sizes, offsets and counts are most often wrong by.
std::uint64_t edge_value(std::uint64_t cluster, Random& random) {
  const std::array<std::uint64_t, 14> values{0,           1,           2,           511,        512,
                                             cluster - 1, cluster,     cluster * 2, UINT32_MAX, 1ULL << 32U,
                                             1ULL << 53U, 1ULL << 62U, INT64_MAX,   UINT64_MAX};
  return values[random.below(values.size())];
}

void mutate_word(Storage& storage, std::uint64_t at, std::uint64_t other, std::uint64_t cluster, Random& random) {
  const bool big = random.chance(50);
  const std::uint64_t old = word_at(storage, at, big);
  const std::uint64_t clusters = must(storage.size()) / cluster + 2;
  switch (random.below(8)) {
    case 0:
      return put_word(storage, at, old ^ 1ULL << random.below(64), big);
    case 1:
      return put_word(storage, at, edge_value(cluster, random), big);
    case 2:
      return put_word(storage, at, word_at(storage, other, big), big);
    case 3:
      return put_word(storage, at, old + (random.chance(50) ? 512 : cluster), big);
    case 4:
      return put_word(storage, at, random.below(clusters) * cluster | (big && random.chance(50) ? 1ULL << 63U : 0),
                      big);
    case 5:
      return put_word(storage, at, random.next() >> random.below(64), big);
    case 6:  // half of it: many fields have 32 bits
      return put_word(storage, at, (old & ~0xffffffffULL) | (edge_value(cluster, random) & 0xffffffffULL), big);
    default:
      return put_word(storage, at, (old & 0xffffffffULL) | (edge_value(cluster, random) << 32U), big);
  }
}

}  // namespace

std::vector<std::uint64_t> metadata_words(Storage& storage) {
  constexpr std::uint64_t kGuestWord = 0x0101010101010101ULL * std::to_integer<std::uint64_t>(kGuestByte);
  std::vector<std::uint64_t> words;
  const std::uint64_t size = must(storage.size());
  std::array<std::byte, 65536> chunk{};
  for (std::uint64_t at = 0; at < size; at += chunk.size()) {
    must(storage.read({at}, chunk));
    for (std::size_t i = 0; i < chunk.size(); i += 8) {
      const auto value = load_le<std::uint64_t>(std::span<const std::byte>(chunk), i);
      if (value == 0 || value == kGuestWord) continue;
      words.push_back(at + i);
      words.push_back(at + i + 8);
    }
  }
  if (words.empty()) words.push_back(0);
  return words;
}

void mutate(Storage& storage, const std::vector<std::uint64_t>& words, std::uint64_t cluster, Random& random) {
  for (std::uint64_t left = random.between(1, 4); left != 0; --left) {
    const std::uint64_t at = words[random.below(words.size())];
    const std::uint64_t choice = random.below(20);
    if (choice < 12) {
      mutate_word(storage, at, words[random.below(words.size())], cluster, random);
    } else if (choice < 15) {
      mutate_word(storage, align_down(random.below(kHeaderBytes), 4), at, cluster, random);
    } else if (choice < 18) {
      const std::array<std::byte, 1> byte{static_cast<std::byte>(random.next())};
      must(storage.write({random.below(kHeaderBytes)}, byte));
    } else if (choice == 18) {
      must(storage.truncate(random.below(must(storage.size()) + 1)));
    } else {
      must(storage.truncate(must(storage.size()) + (1ULL << random.below(50))));
    }
  }
}

}  // namespace penstock::test
