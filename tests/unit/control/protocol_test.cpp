// SPDX-License-Identifier: Apache-2.0
#include "control/protocol.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <vector>

namespace penstock::control {
namespace {

std::vector<std::string> all(Framer& framer) {
  std::vector<std::string> out;
  while (framer.has_next()) out.push_back(framer.next());
  return out;
}

TEST(Framer, CutsMessagesByTheirBracesWithAndWithoutLineEnds) {
  Framer framer;
  ASSERT_TRUE(framer.feed("{\"a\":1}{\"b\":[{}]}\r\n  {\"c\":2}\n"));
  EXPECT_EQ(all(framer), (std::vector<std::string>{"{\"a\":1}", "{\"b\":[{}]}", "{\"c\":2}"}));
}

TEST(Framer, PutsMessagesTogetherFromSingleBytes) {
  Framer framer;
  const std::string message = R"({"x": "a \"}\\", "y": {"z": "{"}})";
  for (const char byte : message) {
    EXPECT_FALSE(framer.has_next());
    ASSERT_TRUE(framer.feed({&byte, 1}));
  }
  EXPECT_EQ(framer.next(), message);
  EXPECT_FALSE(framer.has_next());
}

TEST(Framer, GivesLinesThatAreNoObjectsAsTheyAre) {
  Framer framer;
  ASSERT_TRUE(framer.feed("hello \" { there\n[1, 2]\n{}\n"));
  EXPECT_EQ(all(framer), (std::vector<std::string>{"hello \" { there", "[1, 2]", "{}"}));
}

TEST(Framer, RefusesMessagesThatAreTooLong) {
  Framer framer(100);
  ASSERT_TRUE(framer.feed("{\"fits\":\"" + std::string(80, 'x') + "\"}"));
  const auto result = framer.feed("{\"long\":\"" + std::string(200, 'x'));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().number(), EMSGSIZE);
}

TEST(Framer, RefusesMessagesThatAreNestedTooDeeply) {
  Framer framer;
  ASSERT_FALSE(framer.feed("{\"a\":" + std::string(kNestingMax, '[')));
}

TEST(ToLine, ReplacesBytesThatAreNoUtf8) {
  const auto line = to_line({{"name", "a\xff"}});
  EXPECT_TRUE(line.ends_with("}\r\n"));
  EXPECT_NE(line.find("a\xef\xbf\xbd"), std::string::npos);
}

TEST(Answers, CarryTheRequestsIdIfThereWasOne) {
  EXPECT_EQ(answer(1, {}), Json::parse(R"({"return": 1})"));
  EXPECT_EQ(answer(1, "x"), Json::parse(R"({"return": 1, "id": "x"})"));
  EXPECT_EQ(failure("GenericError", "why", 7),
            Json::parse(R"({"error": {"class": "GenericError", "desc": "why"}, "id": 7})"));
  EXPECT_TRUE(greeting("1")["QMP"]["version"]["qemu"]["major"].is_number());
}

}  // namespace
}  // namespace penstock::control
