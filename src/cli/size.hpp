// SPDX-License-Identifier: Apache-2.0
/// Sizes as qemu-img reads them.
#pragma once

#include <penstock/error.hpp>

#include <cstdint>
#include <string_view>

namespace penstock::cli {

/// Bytes from "512", "0x10000", "64k", "1.5G": a decimal number, with a fraction if a suffix follows, and one of the
/// suffixes b, k, M, G, T, P, E (powers of 1024, either case); or a hexadecimal number without suffix.
/// Errors: EINVAL for what is no size, ERANGE for more than INT64_MAX; the message repeats the text.
/// Source: qemu-img(1), util/cutils.c qemu_strtosz.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);

}  // namespace penstock::cli
