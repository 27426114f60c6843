// SPDX-License-Identifier: Apache-2.0
#include <penstock/image.hpp>
#include <penstock/opener.hpp>

#include "tests/support/expect.hpp"
#include "tests/support/temporary_directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace penstock {
namespace {

using test::must;

constexpr std::uint64_t kSize = 1U << 20U;

class OpenerTest : public testing::Test {
 protected:
  std::string path(std::string_view name) const { return directory_.file(name); }
  std::string raw(std::string_view name, char first) const {
    std::ofstream(path(name), std::ios::binary) << first;
    std::filesystem::resize_file(path(name), kSize);
    return path(name);
  }
  std::string overlay(std::string_view name, const std::string& base) const {
    must(create_image({.path = path(name), .format = "qcow2", .backing = {base, "raw"}}));
    return path(name);
  }
  static ImageName named(const std::string& name) { return must(parse_name(name)); }

  test::TemporaryDirectory directory_;
};

TEST_F(OpenerTest, WhatTheUserNamesIsOpenedWhateverThePolicy) {
  const auto opener = make_host_opener({.data_files = false});
  EXPECT_OK(opener->open(named(raw("a", 'a')), {}, {}));
  EXPECT_OK(opener->open(named(path("a")), {}, {.what = NamedBy::What::data_file}));
}

TEST_F(OpenerTest, WhatAnImageNamesGoesByThePolicy) {
  raw("a", 'a');
  const NamedBy data_file{.who = NamedBy::Who::image, .what = NamedBy::What::data_file};
  EXPECT_OK(make_host_opener()->open(named(path("a")), {}, data_file));
  EXPECT_ERRNO(make_host_opener({.data_files = false})->open(named(path("a")), {}, data_file), EACCES);
  const NamedBy doubtful{.who = NamedBy::Who::image, .what = NamedBy::What::backing_file, .doubtful_format = "qcow2"};
  const auto refused = make_host_opener()->open(named(path("a")), {}, doubtful);
  EXPECT_ERRNO(refused, EINVAL);
  EXPECT_NE(refused.error().message().find("--format=qcow2"), std::string::npos);
}

TEST_F(OpenerTest, TheSameFileHasOneIdentityByAllItsNames) {
  const auto opener = make_host_opener();
  raw("a", 'a');
  std::filesystem::create_hard_link(path("a"), path("b"));
  std::filesystem::create_symlink("a", path("c"));
  raw("d", 'd');
  const auto identity = must(opener->identify(named(path("a"))));
  EXPECT_FALSE(identity.empty());
  EXPECT_EQ(must(opener->identify(named(path("b")))), identity);
  EXPECT_EQ(must(opener->identify(named(path("c")))), identity);
  EXPECT_NE(must(opener->identify(named(path("d")))), identity);
  EXPECT_EQ(must(opener->open(named(path("c")), {}, {}))->facts().identity, identity);
  EXPECT_ERRNO(opener->identify(named(path("none"))), ENOENT);
}

class DescriptorOpenerTest : public OpenerTest {
 protected:
  /// `flags`: of open(2).
  void give(DescriptorOpener& opener, const std::string& name, int flags) const {
    ASSERT_OK(opener.give(named(name), open(name.c_str(), flags | O_CLOEXEC)));
  }
};

TEST_F(DescriptorOpenerTest, OpensAChainWhoseFilesHaveNoNamesAnyMore) {
  const auto top = overlay("top.qcow2", raw("base.img", 'b'));
  const auto opener = std::make_shared<DescriptorOpener>();
  give(*opener, top, O_RDWR);
  give(*opener, path("base.img"), O_RDONLY);
  std::filesystem::remove(top);
  // Another file has the name by now.
  std::filesystem::remove(path("base.img"));
  raw("base.img", 'x');
  const auto image = must(Image::open(top, {.format = "qcow2", .writable = true, .opener = opener}));
  std::array<std::byte, 1> first{};
  ASSERT_OK(image->read({0}, first));
  EXPECT_EQ(first[0], std::byte{'b'});
  ASSERT_OK(image->write({4096}, std::vector<std::byte>(4096, std::byte{1})));
  ASSERT_OK(image->close());
  // The descriptors are still the opener's.
  const auto again = must(Image::open(top, {.format = "qcow2", .opener = opener}));
  ASSERT_OK(again->read({4096}, first));
  EXPECT_EQ(first[0], std::byte{1});
}

TEST_F(DescriptorOpenerTest, OpensNothingElse) {
  const auto top = overlay("top.qcow2", raw("base.img", 'b'));
  const auto opener = std::make_shared<DescriptorOpener>();
  give(*opener, top, O_RDONLY);
  const auto refused = Image::open(top, {.format = "qcow2", .opener = opener});
  EXPECT_ERRNO(refused, ENOENT);
  EXPECT_NE(refused.error().message().find("is not among the files that were given"), std::string::npos);
  EXPECT_ERRNO(opener->create(named(path("new"))), ENOTSUP);
  EXPECT_FALSE(std::filesystem::exists(path("new")));
  EXPECT_ERRNO(opener->identify(named(path("base.img"))), ENOENT);
  EXPECT_EQ(must(opener->identify(named(top))), must(identify_storage(named(top))));
}

TEST_F(DescriptorOpenerTest, AFileThatIsOpenForLessIsRefused) {
  DescriptorOpener opener;
  give(opener, raw("a", 'a'), O_RDONLY);
  EXPECT_OK(opener.open(named(path("a")), {}, {}));
  EXPECT_ERRNO(opener.open(named(path("a")), {.writable = true}, {}), EACCES);
  give(opener, raw("b", 'b'), O_WRONLY);
  EXPECT_ERRNO(opener.open(named(path("b")), {}, {}), EACCES);
}

TEST_F(DescriptorOpenerTest, GoesByThePolicyToo) {
  DescriptorOpener opener({.data_files = false});
  give(opener, raw("a", 'a'), O_RDONLY);
  EXPECT_ERRNO(opener.open(named(path("a")), {}, {.who = NamedBy::Who::image, .what = NamedBy::What::data_file}),
               EACCES);
}

TEST_F(DescriptorOpenerTest, ANameIsGivenOnce) {
  DescriptorOpener opener;
  give(opener, raw("a", 'a'), O_RDONLY);
  EXPECT_ERRNO(opener.give(named(path("a")), open(path("a").c_str(), O_RDONLY | O_CLOEXEC)), EEXIST);
  EXPECT_ERRNO(opener.give(named(R"(json:{"driver":"raw","file.filename":"/x"})"), dup(STDERR_FILENO)), EINVAL);
}

}  // namespace
}  // namespace penstock
