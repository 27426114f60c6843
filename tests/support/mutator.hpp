// SPDX-License-Identifier: Apache-2.0
/// Damage to the metadata of an image of any format.
#pragma once

#include <penstock/storage.hpp>

#include "tests/support/random.hpp"

#include <vector>

namespace penstock::test {

/// What guest data is made of in images that are to be damaged: all the rest is metadata.
inline constexpr std::byte kGuestByte{0x5a};

/// Positions of the aligned 64-bit words that are neither zero nor guest data, and of the word behind each of them.
[[nodiscard]] std::vector<std::uint64_t> metadata_words(Storage& storage);

/// One to four changes of `words`, of bytes of the first 128 bytes, or of the length. `cluster` is the image's own.
void mutate(Storage& storage, const std::vector<std::uint64_t>& words, std::uint64_t cluster, Random& random);

}  // namespace penstock::test
