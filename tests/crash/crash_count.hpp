// SPDX-License-Identifier: Apache-2.0
/// How many crash images a program examines, and telling it.
#pragma once

#include <cstddef>

namespace penstock::test {

/// The images that one of `cases` cases is to examine: its part of `percent` of PENSTOCK_CRASH_IMAGES (default 10,000),
/// which is the number of all programs of this folder together.
[[nodiscard]] std::size_t crash_images_of(std::size_t cases, unsigned percent);

/// Counts one image. The sum is printed when the program ends.
void count_crash_image();

}  // namespace penstock::test
