// SPDX-License-Identifier: Apache-2.0
#include "cli/map_svg.hpp"

#include "cli/human.hpp"
#include "cli/terminal.hpp"

#include "base/text.hpp"

#include <algorithm>

namespace penstock::cli {

namespace {

// Pixels.
constexpr unsigned kCell = 10;
constexpr unsigned kMargin = 16;
constexpr unsigned kTitleHeight = 36;
constexpr unsigned kLegendHeight = 28;
constexpr unsigned kWidth = DiskPicture::kColumns * kCell + 2 * kMargin;
constexpr unsigned kMapBottom = kMargin + kTitleHeight + DiskPicture::kRows * kCell;
constexpr unsigned kHeight = kMapBottom + kLegendHeight + kMargin;
constexpr std::size_t kTitleColumns = 60;

struct Look {
  const char* name;    ///< of the class
  const char* colour;  ///< told apart in grey too
  const char* words;
};
constexpr std::array<Look, 3> kLooks{{{"provisioned", "#2e8b57", "provisioned"},
                                      {"zero", "#a9cbe8", "zero"},
                                      {"missing", "#e3e3e3", "in the backing file"}}};

/// The length of the character that `text`, which is not empty, begins with; 0 where XML does not allow what is there.
std::size_t xml_character(std::string_view text) {
  const auto byte = [&](std::size_t at) {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : static_cast<unsigned char>(0);
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return lead >= 0x20 && lead != 0x7f ? 1 : 0;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  unsigned code = lead & (0xffU >> (length + 1));
  for (std::size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xc0U) != 0x80) return 0;
    code = (code << 6U) | (byte(at) & 0x3fU);
  }
  constexpr std::array<unsigned, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  const bool control = code < 0xa0;
  if (code < kLeast.at(length) || code > 0x10ffff || surrogate || control || code == 0xfffe || code == 0xffff) return 0;
  return length;
}

}  // namespace

std::string xml_text(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = xml_character(text);
    if (length == 0) {
      out += "\xef\xbf\xbd";
    } else if (const char first = text.front(); first == '&') {
      out += "&amp;";
    } else if (first == '<') {
      out += "&lt;";
    } else if (first == '>') {
      out += "&gt;";
    } else if (first == '"') {
      out += "&quot;";
    } else if (first == '\'') {
      out += "&#39;";
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

DiskPicture::DiskPicture(std::uint64_t start, std::uint64_t length)
    : start_(start),
      length_(length),
      cells_(static_cast<std::size_t>(std::min<std::uint64_t>(length, std::uint64_t{kColumns} * kRows))) {}

std::uint64_t DiskPicture::start_of(std::uint64_t cell) const {
  __extension__ using Wide = unsigned __int128;
  return start_ + static_cast<std::uint64_t>(Wide{length_} * cell / cells_.size());
}

void DiskPicture::add(std::uint64_t offset, std::uint64_t length, DiskPart part) {
  const std::uint64_t end_of_all = start_ + length_;
  if (length == 0 || offset >= end_of_all || offset + length <= start_) return;
  const std::uint64_t end = std::min(offset + length, end_of_all);
  std::uint64_t at = std::max(offset, start_);
  const auto kind = static_cast<std::size_t>(part);
  total_.at(kind) += end - at;
  __extension__ using Wide = unsigned __int128;
  auto cell = static_cast<std::uint64_t>(Wide{at - start_} * cells_.size() / length_);
  while (at < end) {
    // The division above may name the cell before the one that holds `at`.
    while (start_of(cell + 1) <= at) ++cell;
    const std::uint64_t piece = std::min(end, start_of(cell + 1)) - at;
    cells_.at(static_cast<std::size_t>(cell)).at(kind) += piece;
    at += piece;
  }
}

DiskPart DiskPicture::part_of(std::size_t cell) const {
  const Bytes& bytes = cells_.at(cell);
  return static_cast<DiskPart>(std::ranges::max_element(bytes) - bytes.begin());
}

std::string DiskPicture::cells_svg() const {
  std::string out;
  for (std::size_t first = 0; first < cells_.size();) {
    const std::size_t row = first / kColumns;
    const std::size_t row_end = std::min<std::size_t>(cells_.size(), (row + 1) * kColumns);
    const DiskPart part = part_of(first);
    std::size_t last = first + 1;
    while (last < row_end && part_of(last) == part) ++last;
    const Look& look = kLooks.at(static_cast<std::size_t>(part));
    out += concat("<rect class=\"", look.name, "\" x=\"", kMargin + (first % kColumns) * kCell, "\" y=\"",
                  kMargin + kTitleHeight + row * kCell, "\" width=\"", (last - first) * kCell, "\" height=\"", kCell,
                  "\"><title>", alternate_hex(start_of(first)), " to ", alternate_hex(start_of(last)), ": ", look.words,
                  "</title></rect>\n");
    first = last;
  }
  return out;
}

std::string DiskPicture::legend_svg() const {
  std::string out;
  constexpr unsigned kY = kMapBottom + kLegendHeight;
  for (std::size_t at = 0; at < kLooks.size(); ++at) {
    const Look& look = kLooks.at(at);
    const std::size_t x = kMargin + at * (kColumns * kCell / kLooks.size());
    out += concat("<rect class=\"", look.name, "\" x=\"", x, "\" y=\"", kY - kCell, "\" width=\"", kCell,
                  "\" height=\"", kCell, "\"/>\n<text x=\"", x + 2 * kCell - 4, "\" y=\"", kY, "\">", look.words, ", ",
                  human_size(total_.at(at)), "</text>\n");
  }
  return out;
}

std::string DiskPicture::svg(std::string_view name, std::string_view format) const {
  const std::string title = concat(", ", format, ", ", human_size(length_));
  std::string out =
      concat("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", kWidth,
             "\" height=\"", kHeight, "\" viewBox=\"0 0 ", kWidth, ' ', kHeight, "\" role=\"img\">\n<title>",
             xml_text(concat(name, title)), "</title>\n<style>text { font: 13px sans-serif; fill: #222 }");
  for (const Look& look : kLooks) out += concat(" .", look.name, " { fill: ", look.colour, " }");
  out += concat("</style>\n<rect width=\"", kWidth, "\" height=\"", kHeight, "\" fill=\"#fff\"/>\n<text x=\"", kMargin,
                "\" y=\"", kMargin + kTitleHeight / 2, "\" style=\"font-size:16px;font-weight:bold\">",
                xml_text(concat(clipped_left(name, kTitleColumns), title)), "</text>\n");
  // A thin line around it: the last cells of a disk that is mostly missing would end in nothing.
  out += cells_svg();
  out += concat("<rect x=\"", kMargin, "\" y=\"", kMargin + kTitleHeight, "\" width=\"", kColumns * kCell,
                "\" height=\"", kRows * kCell, "\" fill=\"none\" stroke=\"#999\"/>\n");
  return out + legend_svg() + "</svg>\n";
}

}  // namespace penstock::cli
