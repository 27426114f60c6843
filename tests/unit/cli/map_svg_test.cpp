// SPDX-License-Identifier: Apache-2.0
#include "cli/map_svg.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace penstock::cli {
namespace {

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(XmlText, EscapesWhatWouldBreakTheFile) {
  EXPECT_EQ(xml_text("a<b>&\"c'.img"), "a&lt;b&gt;&amp;&quot;c&#39;.img");
  EXPECT_EQ(xml_text("磁盘 é.img"), "磁盘 é.img");
}

TEST(XmlText, HoldsOnlyWhatXmlAllows) {
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(xml_text("a\x01\x1b\n\x7f"), "a" + bad + bad + bad + bad);
  EXPECT_EQ(xml_text("\xff\xc3"), bad + bad);
  EXPECT_EQ(xml_text("\xc0\x80"), bad + bad) << "an overlong zero";
  EXPECT_EQ(xml_text("\xed\xa0\x80"), bad + bad + bad) << "a surrogate";
  EXPECT_EQ(xml_text("\xef\xbf\xbf"), bad + bad + bad) << "no character";
  EXPECT_EQ(xml_text("\xf4\x90\x80\x80"), bad + bad + bad + bad) << "behind the last";
}

TEST(DiskPicture, ShowsWhatMostOfACellIs) {
  constexpr std::uint64_t kCells = 64 * 32;
  DiskPicture picture(0, kCells * 100);
  picture.add(0, 6400 + 51, DiskPart::provisioned);
  picture.add(6451, 49, DiskPart::zero);
  picture.add(6500, kCells * 100 - 6500, DiskPart::missing);
  const std::string svg = picture.svg("disk.qcow2", "qcow2");
  EXPECT_NE(svg.find("<rect class=\"provisioned\" x=\"16\" y=\"52\" width=\"640\" height=\"10\">"), std::string::npos);
  EXPECT_NE(svg.find("<rect class=\"provisioned\" x=\"16\" y=\"62\" width=\"10\" height=\"10\">"), std::string::npos);
  EXPECT_NE(svg.find("<rect class=\"missing\" x=\"26\" y=\"62\" width=\"630\" height=\"10\">"), std::string::npos);
  EXPECT_NE(svg.find("<title>0x1900 to 0x1964: provisioned</title>"), std::string::npos);
  EXPECT_NE(svg.find("provisioned, 6.3 KiB<"), std::string::npos) << svg;
  EXPECT_NE(svg.find("zero, 49 B<"), std::string::npos);
}

TEST(DiskPicture, CountsEachByteOnceWhateverTheSizes) {
  for (const std::uint64_t length : {UINT64_C(1), UINT64_C(7), UINT64_C(2047), UINT64_C(2049), UINT64_C(123'457),
                                     UINT64_C(1) << 40U, UINT64_C(0x7fff'ffff'ffff'fe00)}) {
    DiskPicture picture(0, length);
    const std::uint64_t step = length / 777 + 1;
    for (std::uint64_t at = 0; at < length; at += step) {
      picture.add(at, std::min(step, length - at), (at / step) % 2 == 0 ? DiskPart::provisioned : DiskPart::zero);
    }
    const std::string svg = picture.svg("x", "raw");
    EXPECT_EQ(svg.find("class=\"missing\" x=\"16\""), std::string::npos);
    EXPECT_NE(svg.find("in the backing file, 0 B<"), std::string::npos);
  }
}

TEST(DiskPicture, LeavesOutWhatIsOutside) {
  DiskPicture picture(1000, 1000);
  picture.add(0, 1500, DiskPart::provisioned);
  picture.add(1500, 5000, DiskPart::zero);
  const std::string svg = picture.svg("x", "raw");
  EXPECT_NE(svg.find("provisioned, 500 B<"), std::string::npos) << svg;
  EXPECT_NE(svg.find("zero, 500 B<"), std::string::npos);
}

TEST(DiskPicture, OfNothingIsAPictureStill) {
  const std::string svg = DiskPicture(0, 0).svg("", "raw");
  EXPECT_TRUE(svg.starts_with("<?xml"));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
}

TEST(DiskPicture, ClosesWhatItOpensAndEscapesNames) {
  DiskPicture picture(0, 1U << 30U);
  picture.add(0, 1U << 30U, DiskPart::missing);
  const std::string svg = picture.svg("/srv/<script>&\"\n.img", "qcow2");
  for (const char* name : {"svg", "title", "style", "text"}) {
    const auto opened = count_of(svg, std::string("<") + name + ">") + count_of(svg, std::string("<") + name + " ");
    EXPECT_EQ(opened, count_of(svg, std::string("</") + name + ">")) << name;
  }
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
  EXPECT_EQ(count_of(svg, "height=\"10\"><title>"), 32U) << "a row that is all the same is one rectangle";
}

}  // namespace
}  // namespace penstock::cli
