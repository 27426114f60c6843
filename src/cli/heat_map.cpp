// SPDX-License-Identifier: Apache-2.0
#include "cli/heat_map.hpp"

#include "cli/terminal.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace penstock::cli {

namespace {

struct Sign {
  char cell;
  const char* unicode;
  Style style;
  const char* words;
  const char* word;
};

// Told apart without colours too. In the order of the legend; the first stands for what is not known.
constexpr std::array<Sign, 5> kSigns{{{'.', "·", Style::missing, "unprovisioned", "left"},
                                      {'#', "█", Style::provisioned, "provisioned", "done"},
                                      {'z', "░", Style::zero, "zero", "zero"},
                                      {'>', "►", Style::copying, "being copied", "now"},
                                      {'w', "▚", Style::written, "guest-written", "guest"}}};

const Sign& sign_of(char cell) {
  const auto* const found = std::ranges::find(kSigns, cell, &Sign::cell);
  return found == kSigns.end() ? kSigns.front() : *found;
}

std::string shown(const Sign& sign, Look look) {
  return look.unicode ? std::string(sign.unicode) : std::string(1, sign.cell);
}

}  // namespace

std::vector<std::string> heat_map(std::string_view cells, unsigned columns, unsigned rows, Look look) {
  std::vector<std::string> lines;
  const std::uint64_t total = std::uint64_t{columns} * rows;
  for (std::uint64_t row = 0; row < rows; ++row) {
    StyledLine line(columns, look);
    for (std::uint64_t column = 0; column < columns && !cells.empty(); ++column) {
      const std::uint64_t place = row * columns + column;
      const Sign& sign = sign_of(cells[static_cast<std::size_t>(place * cells.size() / total)]);
      line.add(shown(sign, look), sign.style);
    }
    lines.push_back(line.text());
  }
  return lines;
}

StyledLine heat_map_legend(unsigned columns, Look look) {
  const auto make = [look](unsigned room, auto word, std::string_view between) {
    StyledLine line(room, look);
    for (const Sign& sign : kSigns) {
      if (sign.cell != kSigns.front().cell) line.add(between);
      line.add(shown(sign, look), sign.style).add(concat(' ', sign.*word), Style::faint);
    }
    return line;
  };
  constexpr unsigned kAmple = 1000;
  const auto width = [](const StyledLine& line) { return kAmple - line.room(); };
  if (width(make(kAmple, &Sign::words, "  ")) <= columns) return make(columns, &Sign::words, "  ");
  return make(columns, &Sign::word, " ");
}

}  // namespace penstock::cli
