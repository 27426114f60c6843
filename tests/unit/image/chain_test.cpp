// SPDX-License-Identifier: Apache-2.0
#include "image/chain_opener.hpp"

#include <sys/stat.h>

#include "tests/support/expect.hpp"
#include "tests/support/temporary_directory.hpp"

#include <fstream>

namespace penstock {
namespace {

using test::must;

class Chain : public testing::Test {
 protected:
  std::string path(std::string_view name) const { return directory_.file(name); }

  std::string raw(std::string_view name, std::string_view contents, std::uint64_t size = 1U << 20U) const {
    std::ofstream(path(name), std::ios::binary) << contents;
    std::filesystem::resize_file(path(name), size);
    return path(name);
  }

  /// A qcow2 overlay whose backing file need not be there.
  std::string overlay(std::string_view name, std::string backing, std::string format,
                      std::uint64_t size = 1U << 20U) const {
    if (!backing.empty() && format.empty()) format = "raw";
    must(create_image({.path = path(name),
                       .format = "qcow2",
                       .size = size,
                       .backing = {std::move(backing), std::move(format)},
                       .check_backing = false}));
    return path(name);
  }

  /// The same without a stored format, as QEMU before 6.1 made it: the extension's type is changed to an unknown one.
  std::string overlay_without_format(std::string_view name, std::string backing) const {
    const auto file = overlay(name, std::move(backing), "raw");
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    std::string head(4096, '\0');
    stream.read(head.data(), 4096);
    const auto at = head.find("\xe2\x79\x2a\xca");
    EXPECT_NE(at, std::string::npos);
    stream.seekp(static_cast<std::streamoff>(at));
    stream.write("\x12\x34\x56\x78", 4);
    return file;
  }

  std::string error_of(const std::string& name, const ImageOptions& options = {}) const {
    const auto image = Image::open(name, options);
    if (image) return "opened";
    auto message = image.error().message();
    for (std::size_t at = 0; (at = message.find(directory_.path().string() + "/")) != std::string::npos;) {
      message.erase(at, directory_.path().string().size() + 1);
    }
    return message;
  }

  test::TemporaryDirectory directory_;
};

TEST_F(Chain, RawWithoutMagicIsReadButNotWrittenUnlessSaid) {
  const auto disk = raw("disk.img", "hello");
  EXPECT_OK(Image::open(disk, {}));
  EXPECT_OK(Image::open(disk, {.format = "raw", .writable = true}));
  EXPECT_EQ(error_of(disk, {.writable = true}),
            "disk.img: format not given and contents look like no known format; say --format=raw if it is a raw disk");
}

TEST_F(Chain, WhatIsNamedLikeARawDiskIsNotWrittenAsAnythingElse) {
  const auto disk = overlay("disk.img", "", "");
  EXPECT_EQ(error_of(disk, {.writable = true}),
            "disk.img: format not given and contents look like qcow2; say --format=qcow2 or --format=raw");
  EXPECT_OK(Image::open(disk, {}));
  EXPECT_OK(Image::open(disk, {.format = "qcow2", .writable = true}));
  EXPECT_OK(Image::open(overlay("disk.qcow2", "", ""), {.writable = true}));
}

TEST_F(Chain, NamesThatTheGuestOfARawDiskMayHaveWrittenAreNotFollowed) {
  raw("secret", "root:");
  const auto disk = overlay("disk.raw", "secret", "raw");
  EXPECT_EQ(error_of(disk),
            "disk.raw: backing file 'secret': not opened: the image is named like a raw disk, whose guest could have "
            "written this name; say --format=qcow2 if it is to be believed");
  EXPECT_OK(Image::open(disk, {.format = "qcow2"}));
  EXPECT_OK(Image::open(disk, {.format = "raw"}));
  EXPECT_OK(Image::open(overlay("disk.qcow2", "secret", "raw"), {}));
  // The stored format of a backing file decides, whatever a guest made of its contents.
  const auto top = overlay("top.qcow2", "disk.raw", "raw");
  EXPECT_EQ(must(Image::open(top, {}))->layer_count(), 2U);
}

TEST_F(Chain, OtherProgramsFormatsAreNamed) {
  EXPECT_EQ(
      error_of(raw("a", "KDMV")),
      "a: contents look like vmdk, which penstock does not read; say --format=raw if these are the bytes of a raw "
      "disk");
  EXPECT_OK(Image::open(path("a"), {.format = "raw"}));
}

TEST_F(Chain, AWrongFormatFailsAndNeverFallsBack) {
  const auto disk = raw("disk.img", "hello");
  EXPECT_ERRNO(Image::open(disk, {.format = "qcow2"}), EINVAL);
  EXPECT_ERRNO(Image::open(disk, {.format = "qcow3"}), EINVAL);
  raw("base", "hello");
  EXPECT_TRUE(error_of(overlay("o", "base", "qcow2")).starts_with("o: backing file 'base': ")) << error_of(path("o"));
}

TEST_F(Chain, AMissingBackingFileIsNamed) {
  EXPECT_EQ(error_of(overlay("overlay.qcow2", "base.img", "raw")),
            "overlay.qcow2: backing file 'base.img': No such file or directory");
  EXPECT_EQ(error_of(overlay("top.qcow2", "overlay.qcow2", "qcow2")),
            "top.qcow2: layer 'overlay.qcow2': backing file 'base.img': No such file or directory");
  EXPECT_OK(Image::open(path("overlay.qcow2"), {.backing = false}));
}

TEST_F(Chain, ADirectoryAFifoAndAnotherProtocolAreRefusedAtOnce) {
  std::filesystem::create_directory(path("d"));
  ASSERT_EQ(mkfifo(path("f").c_str(), 0600), 0);
  EXPECT_EQ(error_of(overlay("o1", "d", "raw")), "o1: backing file 'd': Is a directory");
  EXPECT_EQ(error_of(overlay("o2", "f", "raw")), "o2: backing file 'f': is a FIFO, not a file or block device");
  EXPECT_TRUE(error_of(overlay("o3", "nbd://host/x", "raw"))
                  .starts_with("o3: backing file 'nbd://host/x': unknown protocol 'nbd'"))
      << error_of(path("o3"));
  EXPECT_TRUE(error_of(path("missing")).starts_with("missing: No such file"));
}

TEST_F(Chain, LoopsAreFoundByTheFileAndNamed) {
  overlay("self", "self", "qcow2");
  overlay("a", "b", "qcow2");
  overlay("b", "c", "qcow2");
  overlay("c", "./link", "qcow2");
  std::filesystem::create_symlink("a", path("link"));
  for (const bool writable : {false, true}) {
    for (const bool lock : {false, true}) {
      const ImageOptions options{.format = "qcow2", .writable = writable, .lock = lock};
      EXPECT_EQ(error_of(path("self"), options),
                "self: backing file 'self': is the same file as 'self' above it: the backing chain loops");
      EXPECT_EQ(error_of(path("a"), options),
                "a: layer 'c': backing file './link': is the same file as 'a' above it: the backing chain loops");
    }
  }
}

TEST_F(Chain, DepthIsBounded) {
  raw("l0", "x");
  for (unsigned i = 1; i <= kMaxBackingDepth + 1; ++i) {
    overlay("l" + std::to_string(i), "l" + std::to_string(i - 1), i == 1 ? "raw" : "qcow2");
  }
  const auto deepest = Image::open(path("l" + std::to_string(kMaxBackingDepth)), {});
  ASSERT_OK(deepest);
  std::byte first{};
  EXPECT_OK((*deepest)->read({0}, {&first, 1}));
  EXPECT_EQ(first, std::byte{'x'});
  EXPECT_ERRNO(Image::open(path("l" + std::to_string(kMaxBackingDepth + 1)), {}), ELOOP);
}

TEST_F(Chain, ABackingFileWithoutStoredFormatIsRawOrRefused) {
  raw("base.img", "hello");
  EXPECT_OK(Image::open(overlay_without_format("o1", "base.img"), {}));
  overlay("base.qcow2", "", "");
  const auto over = overlay_without_format("o2", "base.qcow2");
  EXPECT_EQ(
      error_of(over),
      "o2: backing file 'base.qcow2': its format is not stored in the overlay and contents look like qcow2; store "
      "it with 'qemu-img rebase -u -F FORMAT -b BACKING OVERLAY'");
  EXPECT_OK(Image::open(over, {.probe_backing = true}));
}

TEST_F(Chain, TheStoredFormatOverridesTheDriverOfAJsonName) {
  const auto base = overlay("base.qcow2", "", "");
  const auto json = R"(json:{"driver":"qcow2","file.filename":")" + base + "\"}";
  const auto as_qcow2 = must(Image::open(overlay_without_format("o1", json), {}));
  EXPECT_EQ(must(as_qcow2->layers())[1].format, "qcow2");
  const auto as_raw = must(Image::open(overlay("o2", json, "raw"), {}));
  EXPECT_EQ(must(as_raw->layers())[1].format, "raw");
  const auto bytes_only = R"(json:{"driver":"file","filename":")" + base + "\"}";
  EXPECT_ERRNO(Image::open(overlay("o3", bytes_only, "qcow2"), {}), EINVAL);
  EXPECT_OK(Image::open(bytes_only, {}));
}

TEST_F(Chain, JsonShowsAPartOfARawFile) {
  const auto disk = raw("disk", std::string(512, 'a') + std::string(512, 'b') + std::string(512, 'c'), 2048);
  const auto name = R"(json:{"driver":"raw","offset":512,"size":1000,"file.filename":")" + disk + "\"}";
  const auto image = must(Image::open(name, {.writable = true}));
  EXPECT_EQ(image->virtual_size(), 1000U);
  std::vector<std::byte> bytes(600, std::byte{'z'});
  EXPECT_OK(image->write({400}, bytes));
  EXPECT_OK(image->close());
  std::string found(2048, '\0');
  std::ifstream(disk, std::ios::binary).read(found.data(), 2048);
  EXPECT_EQ(found, std::string(512, 'a') + std::string(400, 'b') + std::string(600, 'z') + std::string(24, 'c') +
                       std::string(512, '\0'));
  EXPECT_ERRNO(Image::open(R"(json:{"driver":"raw","offset":4096,"file.filename":")" + disk + "\"}", {.format = "raw"}),
               EINVAL);
}

TEST_F(Chain, NamesAreRelativeToTheirLayer) {
  std::filesystem::create_directories(path("a/b"));
  raw("a/b/base.img", "deep");
  overlay("a/b/middle", "base.img", "raw");
  overlay("top", "a/b/middle", "qcow2");
  const auto image = must(Image::open(path("top"), {}));
  const auto layers = must(image->layers());
  ASSERT_EQ(layers.size(), 3U);
  EXPECT_EQ(layers[0].backing_path, path("a/b/middle"));
  EXPECT_EQ(layers[1].backing.name, "base.img");
  EXPECT_EQ(layers[2].path, path("a/b/base.img"));
}

TEST_F(Chain, ADataFileIsFoundBesideTheImageAndCanBeRefused) {
  must(create_image(
      {.path = path("d.qcow2"), .format = "qcow2", .size = 1U << 20U, .options = {{"data_file", "d.raw"}}}));
  ASSERT_TRUE(std::filesystem::exists(path("d.raw")));
  EXPECT_OK(Image::open(path("d.qcow2"), {.writable = true}));
  EXPECT_EQ(error_of(path("d.qcow2"), {.opener = make_host_opener({.data_files = false})}).substr(0, 9), "d.qcow2: ");
  std::filesystem::remove(path("d.raw"));
  std::filesystem::create_symlink("d.qcow2", path("d.raw"));
  for (const bool lock : {false, true}) {
    EXPECT_ERRNO(Image::open(path("d.qcow2"), {.writable = true, .lock = lock}), ELOOP);
  }
}

TEST_F(Chain, InfoShowsTheLayersAboveAMissingOne) {
  overlay("o", "missing", "raw");
  const auto layers = must(describe_chain(path("o"), {}, true));
  ASSERT_EQ(layers.size(), 1U);
  ASSERT_TRUE(layers[0].backing_error);
  EXPECT_TRUE(layers[0].backing_error->is(ENOENT));
  EXPECT_FALSE(must(describe_chain(path("o"), {}, false))[0].backing_error);
}

TEST_F(Chain, OnlyTheTopIsOpenedForWriting) {
  const auto base = raw("base.img", "hello");
  std::filesystem::permissions(base, std::filesystem::perms::owner_read);
  const auto image = must(Image::open(overlay("o", "base.img", "raw"), {.writable = true}));
  // The base is locked for reading: another reader may come, a writer may not.
  EXPECT_OK(Image::open(base, {.format = "raw"}));
  EXPECT_ERRNO(Image::open(base, {.format = "raw", .writable = true}), EAGAIN);
  EXPECT_ERRNO(Image::open(path("o"), {}), EAGAIN);
}

TEST_F(Chain, ZeroesWrittenWithoutTheBackingFileHideItLater) {
  raw("base.img", std::string(200000, 'x'));
  const auto over = overlay("o", "base.img", "raw");
  const auto top_alone = must(Image::open(over, {.writable = true, .backing = false}));
  EXPECT_OK(top_alone->write_zeroes({{0}, 65536}, Zeroing::may_unmap));
  EXPECT_OK(top_alone->close());
  const auto whole = must(Image::open(over, {}));
  std::vector<std::byte> found(65537);
  EXPECT_OK(whole->read({0}, found));
  EXPECT_EQ(found[0], std::byte{0});
  EXPECT_EQ(found[65535], std::byte{0});
  EXPECT_EQ(found[65536], std::byte{'x'});
}

TEST_F(Chain, CreateTakesTheSizeOfTheBackingFileRoundedUp) {
  raw("base.img", "x", 102500);
  must(create_image({.path = path("o"), .format = "qcow2", .backing = {"base.img", "raw"}}));
  EXPECT_EQ(must(Image::open(path("o"), {}))->virtual_size(), 102912U);
}

TEST_F(Chain, CreateRefusesBeforeItTouchesAnything) {
  raw("base.img", "x");
  overlay("middle", "base.img", "raw");
  const auto attempt = [&](NewImage request) {
    request.path = path(request.path);
    request.format = request.format == "raw" ? "qcow2" : request.format;
    return create_image(request);
  };
  EXPECT_ERRNO(attempt({.path = "n"}), EINVAL);                                                  // no size
  EXPECT_ERRNO(attempt({.path = "n", .size = 1U << 20U, .backing = {"base.img", ""}}), EINVAL);  // no format
  EXPECT_ERRNO(attempt({.path = "n", .size = 1U << 20U, .backing = {"missing", "raw"}}), ENOENT);
  EXPECT_ERRNO(attempt({.path = "n", .size = 1U << 20U, .backing = {"base.img", "qcow2"}}), EINVAL);
  EXPECT_ERRNO(attempt({.path = "n", .size = 1U << 20U, .backing = {"base.img", "what"}}), EINVAL);
  EXPECT_ERRNO(attempt({.path = "n", .format = "what", .size = 1U << 20U}), EINVAL);
  EXPECT_FALSE(std::filesystem::exists(path("n")));
  EXPECT_ERRNO(attempt({.path = "base.img", .backing = {"base.img", "raw"}}), EINVAL);
  EXPECT_ERRNO(attempt({.path = "base.img", .backing = {"middle", "qcow2"}}), EINVAL);
  EXPECT_EQ(std::filesystem::file_size(path("base.img")), 1U << 20U);
}

TEST_F(Chain, CreateLeavesAnImageInUseAlone) {
  const auto used = overlay("used.qcow2", "", "");
  const auto image = must(Image::open(used, {.writable = true}));
  const auto size = std::filesystem::file_size(used);
  EXPECT_ERRNO(create_image({.path = used, .format = "qcow2", .size = 1U << 30U}), EAGAIN);
  EXPECT_EQ(std::filesystem::file_size(used), size);
  EXPECT_EQ(image->virtual_size(), 1U << 20U);
}

TEST_F(Chain, ADryRunMakesNothing) {
  const auto made = must(create_image({.path = path("n"), .format = "qcow2", .size = 1U << 20U}, true));
  EXPECT_NE(made.summary.find("size=1048576"), std::string::npos) << made.summary;
  EXPECT_FALSE(std::filesystem::exists(path("n")));
}

TEST_F(Chain, CheckNeedsAFormatThatHasOne) {
  EXPECT_ERRNO(check_image(raw("disk.img", "x"), {}, {}), ENOSYS);
  const auto checked = must(check_image(overlay("o.img", "", ""), {}, {}));
  EXPECT_EQ(checked.format, "qcow2");
  EXPECT_EQ(checked.report.corruptions + checked.report.leaks, 0U);
}

}  // namespace
}  // namespace penstock
