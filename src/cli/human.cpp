// SPDX-License-Identifier: Apache-2.0
#include "cli/human.hpp"

#include <array>
#include <cctype>
#include <cmath>
#include <cstdarg>
#include <cstdio>

namespace penstock::cli {

std::string printf_text(const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  std::va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  std::string text;
  if (length > 0) {
    text.resize(static_cast<std::size_t>(length));
    std::vsnprintf(text.data(), text.size() + 1, format, again);
  }
  va_end(again);
  return text;
}

std::string human_size(std::uint64_t bytes) {
  constexpr std::array<const char*, 7> kUnits{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  // The factor moves the step to the next unit from 1024 to 1000, so that three digits are always enough.
  int exponent = 0;
  static_cast<void>(std::frexp(static_cast<double>(bytes) / (1000.0 / 1024.0), &exponent));
  const auto unit = bytes == 0 ? 0U : static_cast<unsigned>((exponent - 1) / 10);
  const double scaled = std::ldexp(static_cast<double>(bytes), -10 * static_cast<int>(unit));
  return printf_text("%0.3g %sB", scaled, kUnits.at(unit));
}

std::string io_size(double bytes) {
  constexpr std::array<const char*, 7> kUnits{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  while (bytes >= 1024.0 && unit + 1 < kUnits.size()) {
    bytes /= 1024.0;
    ++unit;
  }
  std::string number = printf_text(unit == 0 ? "%f" : "%.3f", bytes);
  const auto zeroes = number.find(".000");
  if (zeroes != std::string::npos) number.resize(zeroes);
  return number + ' ' + kUnits.at(unit);
}

std::string alternate_hex(std::uint64_t value) {
  return printf_text("%#llx", static_cast<unsigned long long>(value));
}

std::string dump_line(std::uint64_t offset, std::span<const std::byte> bytes) {
  std::string line = printf_text("%08llx:  ", static_cast<unsigned long long>(offset));
  for (const std::byte byte : bytes) line += printf_text("%02x ", std::to_integer<unsigned>(byte));
  line += ' ';
  for (const std::byte byte : bytes) {
    const int character = std::to_integer<int>(byte);
    line += character < 0x80 && std::isalnum(character) != 0 ? static_cast<char>(character) : '.';
  }
  return line + '\n';
}

void print(std::string_view text) {
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), stdout));
}

}  // namespace penstock::cli
