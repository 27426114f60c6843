// SPDX-License-Identifier: Apache-2.0
/// A format that is only read, with its data in two files, as a next one may be.
///
/// Little-endian. Header, 4096 bytes: magic "TOYDISK1", size of the disk (8 bytes, a multiple of 512), cluster bits
/// (4, 9 to 21), length of the second file's name (4), length of the backing file's name (4), zero (4), then the names.
/// Behind it a table of 8 bytes a cluster: kind in the two low bits (0 unallocated, 1 zero, 2 data, 3 data in the
/// second file), the rest the offset of the data, a multiple of 512.
#pragma once

#include <penstock/format.hpp>

namespace penstock::toys {

extern const Format kToyFormat;

}  // namespace penstock::toys
