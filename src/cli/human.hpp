// SPDX-License-Identifier: Apache-2.0
/// Sizes, times and bytes as qemu-img and qemu-io print them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock::cli {

/// "196 KiB", "1.5 GiB", "0 B": three significant digits, the next unit from 1000 on. Source: qemu-img info.
[[nodiscard]] std::string human_size(std::uint64_t bytes);

/// "64 KiB", "1.938 MiB", "512 bytes": three decimals unless they are zero. Source: qemu-io's report lines.
[[nodiscard]] std::string io_size(double bytes);

/// "0x10000", but "0" for zero, as printf's "%#x" gives. Source: qemu-img map.
[[nodiscard]] std::string alternate_hex(std::uint64_t value);

/// One line of up to 16 bytes: "000001fe:  ab ab 00 00  ....". Source: qemu-io read -v.
[[nodiscard]] std::string dump_line(std::uint64_t offset, std::span<const std::byte> bytes);

/// Two or more decimals and fixed widths are what these outputs are made of; std::format is not in libstdc++ 12.
/// Only for formats written in this program.
[[gnu::format(printf, 1, 2)]] [[nodiscard]] std::string printf_text(const char* format, ...);

/// Writes to standard output; failures show up in finish_output().
void print(std::string_view text);

}  // namespace penstock::cli
