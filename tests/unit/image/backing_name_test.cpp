// SPDX-License-Identifier: Apache-2.0
#include "image/backing_name.hpp"

#include "tests/support/expect.hpp"

#include <filesystem>

namespace penstock {
namespace {

using test::must;

std::string here(std::string_view name) {
  return (std::filesystem::current_path() / name).string();
}

std::string stored(std::string_view image, std::string_view name) {
  return must(locate_stored(must(locate_image(image)), name)).storage_name;
}

TEST(BackingName, RelativeNamesStartFromTheDirectoryOfThePathAsGiven) {
  EXPECT_EQ(stored("overlay.qcow2", "base.img"), "base.img");
  EXPECT_EQ(stored("images/overlay.qcow2", "base.img"), "images/base.img");
  EXPECT_EQ(stored("/srv/images/overlay.qcow2", "../base.img"), "/srv/images/../base.img");
  EXPECT_EQ(stored("file:images/overlay.qcow2", "base.img"), "images/base.img");
}

TEST(BackingName, AbsoluteNamesStandAlone) {
  EXPECT_EQ(stored("images/overlay.qcow2", "/base.img"), "/base.img");
}

TEST(BackingName, FileStripsAndStaysWithTheWorkingDirectory) {
  EXPECT_EQ(stored("images/overlay.qcow2", "file:base.img"), "base.img");
  EXPECT_EQ(stored("images/overlay.qcow2", "file:/srv/base.img"), "/srv/base.img");
}

TEST(BackingName, AColonInAPathIsNoProtocol) {
  EXPECT_EQ(stored("overlay.qcow2", "./a:b"), "./a:b");
  EXPECT_EQ(stored("images/overlay.qcow2", "./a:b"), "images/./a:b");
  EXPECT_EQ(stored("overlay.qcow2", "file:a:b"), "./a:b");
  EXPECT_EQ(stored("overlay.qcow2", "dir/a:b"), "dir/a:b");
}

TEST(BackingName, OtherProtocolsAreLeftToTheStorage) {
  EXPECT_EQ(stored("images/overlay.qcow2", "nbd://host/x"), "nbd://host/x");
}

TEST(BackingName, TheStoredNameOfALayerStartsFromThatLayer) {
  const auto top = must(locate_image("a/top.qcow2"));
  const auto middle = must(locate_stored(top, "b/middle.qcow2"));
  EXPECT_EQ(must(locate_stored(middle, "base.img")).storage_name, "a/b/base.img");
}

TEST(BackingName, JsonTakesNestedAndDottedKeys) {
  for (const auto* name : {R"(json:{"driver":"qcow2","file":{"driver":"file","filename":"/x/b.qcow2"}})",
                           R"(json:{"driver":"qcow2","file.driver":"file","file.filename":"/x/b.qcow2"})"}) {
    const auto location = must(locate_image(name));
    EXPECT_EQ(location.storage_name, "/x/b.qcow2");
    EXPECT_EQ(location.format, "qcow2");
    EXPECT_EQ(location.directory, "/x/");
    EXPECT_FALSE(location.protocol_only);
  }
}

TEST(BackingName, JsonMakesRelativeNamesAbsoluteFromTheWorkingDirectory) {
  EXPECT_EQ(stored("images/overlay.qcow2", R"(json:{"driver":"raw","file.filename":"b.img"})"), here("b.img"));
  const auto top = must(locate_image(R"(json:{"driver":"qcow2","file.filename":"dir/o.qcow2"})"));
  EXPECT_EQ(must(locate_stored(top, "base.img")).storage_name, here("dir/base.img"));
}

TEST(BackingName, JsonTakesThePartOfARawFile) {
  const auto location = must(locate_image(R"(json:{"driver":"raw","offset":1024,"size":"2048","file.filename":"/x"})"));
  EXPECT_EQ(location.offset, 1024U);
  EXPECT_EQ(location.size, 2048U);
}

TEST(BackingName, JsonOfTheFileNodeAloneIsToldApart) {
  const auto location = must(locate_image(R"(json:{"driver":"file","filename":"/x"})"));
  EXPECT_TRUE(location.protocol_only);
  EXPECT_EQ(location.format, "");
}

TEST(BackingName, JsonRefusesWhatItDoesNotKnow) {
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
    EXPECT_ERRNO(locate_image(name), EINVAL) << name;
  }
}

TEST(BackingName, DeeplyNestedJsonIsRefusedWithoutHarm) {
  for (const int depth : {1000, 100000}) {
    std::string name = "json:";
    for (int i = 0; i < depth; ++i) name += "{\"a\":";
    EXPECT_ERRNO(locate_image(name), EINVAL);
    name += "1" + std::string(static_cast<std::size_t>(depth), '}');
    EXPECT_ERRNO(locate_image(name), EINVAL);
  }
}

TEST(BackingName, AnEmptyNameIsRefused) {
  EXPECT_ERRNO(locate_image(""), EINVAL);
  EXPECT_ERRNO(locate_image("file:"), EINVAL);
}

}  // namespace
}  // namespace penstock
