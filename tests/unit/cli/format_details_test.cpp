// SPDX-License-Identifier: Apache-2.0
#include "cli/format_details.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <ctime>

namespace penstock::cli {
namespace {

FormatInfo example() {
  FormatInfo info;
  info.items = {{"compat", "compat", std::string("1.1")},
                {"lazy refcounts", "lazy-refcounts", false},
                {"refcount bits", "refcount-bits", std::uint64_t{16}},
                {"format", "encrypt.format", std::string("aes")}};
  info.bitmaps = {{.name = "b0", .granularity = 65536, .flags = {"auto"}}};
  return info;
}

// The expected lines are what qemu-img 7.2 prints.
TEST(FormatDetails, AreATreeForPeople) {
  EXPECT_EQ(details_text(example()),
            "Format specific information:\n"
            "    compat: 1.1\n"
            "    lazy refcounts: false\n"
            "    bitmaps:\n"
            "        [0]:\n"
            "            flags:\n"
            "                [0]: auto\n"
            "            name: b0\n"
            "            granularity: 65536\n"
            "    refcount bits: 16\n"
            "    encrypt:\n"
            "        format: aes\n");
}

TEST(FormatDetails, AreAnObjectForPrograms) {
  EXPECT_EQ(details_json(example()).dump(),
            "{\"compat\":\"1.1\",\"lazy-refcounts\":false,\"bitmaps\":[{\"flags\":[\"auto\"],\"name\":\"b0\","
            "\"granularity\":65536}],\"refcount-bits\":16,\"encrypt\":{\"format\":\"aes\"}}");
}

TEST(FormatDetails, AreNothingForAFormatWithoutAny) {
  EXPECT_EQ(details_text(FormatInfo{}), "");
}

TEST(FormatDetails, NamesCannotDriveATerminal) {
  FormatInfo info;
  info.items = {{"data file", "data-file", std::string("a\n\x1b[31m")}};
  EXPECT_EQ(details_text(info), "Format specific information:\n    data file: a\\x0a\\x1b[31m\n");
  EXPECT_EQ(json_text(details_json(info)), "{\n    \"data-file\": \"a\\n\\u001b[31m\"\n}\n");
}

TEST(SnapshotList, IsATable) {
  ASSERT_EQ(setenv("TZ", "UTC", 1), 0);
  tzset();
  FormatInfo info;
  info.snapshots = {{.id = "1",
                     .name = "snap1",
                     .vm_state_size = 0,
                     .virtual_size = 1,
                     .date_seconds = 1795266964,
                     .date_nanoseconds = 5,
                     .vm_clock_nanoseconds = 3'723'004'000'000,
                     .icount = 0}};
  EXPECT_EQ(snapshots_text(info),
            "Snapshot list:\n"
            "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n"
            "1         snap1                 0 B 2026-11-21 13:16:04 01:02:03.004          0\n");
  EXPECT_EQ(snapshots_json(info).dump(),
            "[{\"icount\":0,\"vm-clock-nsec\":4000000,\"name\":\"snap1\",\"date-sec\":1795266964,\"date-nsec\":5,"
            "\"vm-clock-sec\":3723,\"id\":\"1\",\"vm-state-size\":0}]");
}

TEST(JsonText, BreaksTheLineInsideEmptyLists) {
  EXPECT_EQ(json_text(Json{{"a", Json::array()}, {"b[]\\", "\"[]"}}),
            "{\n    \"a\": [\n    ],\n    \"b[]\\\\\": \"\\\"[]\"\n}\n");
}

TEST(JsonText, SurvivesNamesThatAreNoUtf8) {
  EXPECT_EQ(json_text(Json{{"name", "a\xff"}}), "{\n    \"name\": \"a\\ufffd\"\n}\n");
}

}  // namespace
}  // namespace penstock::cli
