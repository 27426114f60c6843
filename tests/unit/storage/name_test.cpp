// SPDX-License-Identifier: Apache-2.0
#include <penstock/name.hpp>

#include "tests/support/expect.hpp"

#include <filesystem>

namespace penstock {
namespace {

using test::must;

std::string here(std::string_view name) {
  return (std::filesystem::current_path() / name).string();
}

std::string stored(std::string_view image, std::string_view name) {
  return must(resolve_name(must(parse_name(image)), name)).text();
}

TEST(ImageName, RelativeNamesStartFromTheDirectoryOfThePathAsGiven) {
  EXPECT_EQ(stored("overlay.qcow2", "base.img"), "base.img");
  EXPECT_EQ(stored("images/overlay.qcow2", "base.img"), "images/base.img");
  EXPECT_EQ(stored("/srv/images/overlay.qcow2", "../base.img"), "/srv/images/../base.img");
  EXPECT_EQ(stored("file:images/overlay.qcow2", "base.img"), "images/base.img");
}

TEST(ImageName, AbsoluteNamesStandAlone) {
  EXPECT_EQ(stored("images/overlay.qcow2", "/base.img"), "/base.img");
}

TEST(ImageName, FileStripsAndStaysWithTheWorkingDirectory) {
  EXPECT_EQ(stored("images/overlay.qcow2", "file:base.img"), "base.img");
  EXPECT_EQ(stored("images/overlay.qcow2", "file:/srv/base.img"), "/srv/base.img");
}

TEST(ImageName, AColonInAPathIsNoProtocol) {
  EXPECT_EQ(stored("overlay.qcow2", "./a:b"), "./a:b");
  EXPECT_EQ(stored("images/overlay.qcow2", "./a:b"), "images/./a:b");
  EXPECT_EQ(stored("overlay.qcow2", "file:a:b"), "./a:b");
  EXPECT_EQ(stored("overlay.qcow2", "dir/a:b"), "dir/a:b");
}

TEST(ImageName, OtherProtocolsAreLeftToTheStorage) {
  EXPECT_EQ(stored("images/overlay.qcow2", "nbd://host/x"), "nbd://host/x");
}

TEST(ImageName, TheStoredNameOfALayerStartsFromThatLayer) {
  const auto top = must(parse_name("a/top.qcow2"));
  const auto middle = must(resolve_name(top, "b/middle.qcow2"));
  EXPECT_EQ(must(resolve_name(middle, "base.img")).text(), "a/b/base.img");
}

TEST(ImageName, JsonTakesNestedAndDottedKeys) {
  for (const auto* name : {R"(json:{"driver":"qcow2","file":{"driver":"file","filename":"/x/b.qcow2"}})",
                           R"(json:{"driver":"qcow2","file.driver":"file","file.filename":"/x/b.qcow2"})"}) {
    const auto found = must(parse_name(name));
    EXPECT_EQ(found.text(), "/x/b.qcow2");
    EXPECT_EQ(found.format, "qcow2");
    EXPECT_EQ(must(resolve_name(found, "a")).text(), "/x/a");
    EXPECT_FALSE(found.bytes_alone);
  }
}

TEST(ImageName, JsonMakesRelativeNamesAbsoluteFromTheWorkingDirectory) {
  EXPECT_EQ(stored("images/overlay.qcow2", R"(json:{"driver":"raw","file.filename":"b.img"})"), here("b.img"));
  const auto top = must(parse_name(R"(json:{"driver":"qcow2","file.filename":"dir/o.qcow2"})"));
  EXPECT_EQ(must(resolve_name(top, "base.img")).text(), here("dir/base.img"));
}

TEST(ImageName, JsonTakesThePartOfARawFile) {
  const auto found = must(parse_name(R"(json:{"driver":"raw","offset":1024,"size":"2048","file.filename":"/x"})"));
  EXPECT_EQ(found.offset, 1024U);
  EXPECT_EQ(found.size, 2048U);
}

TEST(ImageName, JsonOfTheFileNodeAloneIsToldApart) {
  const auto found = must(parse_name(R"(json:{"driver":"file","filename":"/x"})"));
  EXPECT_TRUE(found.bytes_alone);
  EXPECT_EQ(found.format, "");
}

TEST(ImageName, JsonRefusesWhatItDoesNotKnow) {
  for (const auto* name : {
           "json:",
           "json:{",
           "json:[]",
           "json:7",
           "json:{}",
           R"(json:"x")",
           R"(json:{"driver":"qcow2"})",
           R"(json:{"driver":"qcow2","file":"node0"})",
           R"(json:{"driver":"qcow2","file.filename":7})",
           R"(json:{"driver":7,"file.filename":"/x"})",
           R"(json:{"driver":"qcow2","file.filename":""})",
           R"(json:{"driver":"qcow2","file.filename":["/x"]})",
           R"(json:{"driver":"qcow2","file.filename":"/x","cache":"none"})",
           R"(json:{"driver":"qcow2","file.driver":"nbd","file.filename":"/x"})",
           R"(json:{"driver":"qcow2","file":{"filename":"/x"},"file.filename":"/y"})",
           R"(json:{"driver":"qcow2","file":{"driver":"raw","file":{"filename":"/x"}}})",
           R"(json:{"driver":"raw","offset":-1,"file.filename":"/x"})",
           R"(json:{"driver":"raw","size":"big","file.filename":"/x"})",
           R"(json:{"driver":"raw","offset":18446744073709551615,"file.filename":"/x"})",
           R"(json:{"driver":"file","filename":"/x","offset":5})",
       }) {
    EXPECT_ERRNO(parse_name(name), EINVAL) << name;
  }
}

TEST(ImageName, DeeplyNestedJsonIsRefusedWithoutHarm) {
  for (const int depth : {1000, 100000}) {
    std::string name = "json:";
    for (int i = 0; i < depth; ++i) name += "{\"a\":";
    EXPECT_ERRNO(parse_name(name), EINVAL);
    name += "1" + std::string(static_cast<std::size_t>(depth), '}');
    EXPECT_ERRNO(parse_name(name), EINVAL);
  }
}

TEST(ImageName, AnEmptyNameIsRefused) {
  EXPECT_ERRNO(parse_name(""), EINVAL);
  EXPECT_ERRNO(parse_name("file:"), EINVAL);
}

}  // namespace
}  // namespace penstock
