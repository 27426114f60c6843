// SPDX-License-Identifier: Apache-2.0
#include "cli/terminal.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace penstock::cli {
namespace {

TEST(Columns, CountsCharactersNotBytes) {
  EXPECT_EQ(columns_of(""), 0U);
  EXPECT_EQ(columns_of("disk.qcow2"), 10U);
  EXPECT_EQ(columns_of("grün"), 4U);
  EXPECT_EQ(columns_of("█░▏"), 3U);
  EXPECT_EQ(columns_of("磁盘"), 4U);
  EXPECT_EQ(columns_of("e\xcc\x81"), 1U);
  EXPECT_EQ(columns_of("\xff\xc3"), 2U) << "bytes that are no UTF-8";
}

TEST(Clipped, NeverCutsACharacterNorExceeds) {
  EXPECT_EQ(clipped("grün", 3), "grü");
  EXPECT_EQ(clipped("grün", 2), "gr");
  EXPECT_EQ(clipped("磁盘", 3), "磁");
  EXPECT_EQ(clipped("short", 80), "short");
  EXPECT_EQ(clipped("x", 0), "");
}

TEST(ClippedLeft, KeepsTheEndThatTells) {
  EXPECT_EQ(clipped_left("/srv/images/disk.qcow2", 12), "..disk.qcow2");
  EXPECT_EQ(clipped_left("disk.qcow2", 10), "disk.qcow2");
  EXPECT_EQ(clipped_left("磁盘磁盘", 5), "..盘");
  EXPECT_EQ(clipped_left("disk.qcow2", 1), ".");
  EXPECT_EQ(clipped_left("disk.qcow2", 0), "");
}

TEST(Locale, TheFirstVariableThatIsSetDecides) {
  setenv("LC_ALL", "", 1);
  setenv("LC_CTYPE", "de_DE.UTF-8", 1);
  setenv("LANG", "C", 1);
  EXPECT_TRUE(utf8_locale());
  setenv("LC_ALL", "C", 1);
  EXPECT_FALSE(utf8_locale());
  setenv("LC_ALL", "C.utf8", 1);
  EXPECT_TRUE(utf8_locale());
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) unsetenv(name);
  EXPECT_FALSE(utf8_locale());
}

TEST(Colours, AreForTerminalsThatKnowThemAndPeopleWhoWantThem) {
  unsetenv("NO_COLOR");
  setenv("TERM", "xterm-256color", 1);
  EXPECT_TRUE(colours_wanted());
  setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(colours_wanted());
  unsetenv("NO_COLOR");
  setenv("TERM", "dumb", 1);
  EXPECT_FALSE(colours_wanted());
  unsetenv("TERM");
  EXPECT_FALSE(colours_wanted());
}

TEST(TerminalSize, IsTheUsualOneWhereThereIsNoTerminal) {
  EXPECT_EQ(terminal_size(-1), (TerminalSize{80, 24}));
}

}  // namespace
}  // namespace penstock::cli
