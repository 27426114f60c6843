// SPDX-License-Identifier: Apache-2.0
/// The persistent bitmaps that an image names. penstock does not maintain them: a writer clears the autoclear bit and
/// leaves them in place. Source: penstock-formats(5), "qcow2: persistent bitmaps".
#pragma once

#include "format/qcow2/header.hpp"

namespace penstock::qcow2 {

struct BitmapDirectory {
  std::uint32_t count = 0;
  HostRange place;
};

struct Bitmap {
  HostOffset table_offset;
  std::uint32_t table_entries = 0;
  std::uint32_t flags = 0;
  BitmapInfo info;
};

/// Where the directory lies; empty when there are no bitmaps, or none that can be trusted (autoclear bit 0 clear).
[[nodiscard]] BitmapDirectory bitmap_directory(const Header& header);

/// All bitmaps, read from at most 64 MiB of directory.
/// Errors: EUCLEAN for an entry that breaks the format or a directory that does not fit the file.
[[nodiscard]] Result<std::vector<Bitmap>> read_bitmaps(Storage& storage, const Header& header);

}  // namespace penstock::qcow2
