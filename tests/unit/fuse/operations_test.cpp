// SPDX-License-Identifier: Apache-2.0
#include "fuse/operations.hpp"
#include "image/layer.hpp"

#include "tests/support/expect.hpp"
#include "tests/support/fake_driver.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace penstock::fuse {
namespace {

using test::FakeDriver;
using test::must;

constexpr std::uint64_t kSize = 10240;
constexpr std::uint64_t kFile = 2;

/// As the kernel would send it; keeps the answer.
class TestRequest final : public Request {
 public:
  TestRequest(std::uint32_t opcode, std::uint64_t inode, std::vector<std::byte> body = {}, uid_t user = 0)
      : body_(std::move(body)) {
    header_.opcode = opcode;
    header_.nodeid = inode;
    header_.uid = user;
    fixed_ = body_;
  }
  std::span<std::byte> room(std::size_t size) override {
    room_.resize(size);
    return room_;
  }
  int number = -1;
  std::vector<std::byte> answer;

 private:
  void send(int sent, std::span<const std::byte> bytes) override {
    number = sent;
    answer.assign(bytes.begin(), bytes.end());
  }
  std::vector<std::byte> body_;
  std::vector<std::byte> room_;
};

template <typename T>
std::vector<std::byte> bytes_of(const T& value, std::string_view rest = {}) {
  std::vector<std::byte> out(sizeof value + rest.size());
  std::memcpy(out.data(), &value, sizeof value);
  std::ranges::copy(std::as_bytes(std::span(rest)), out.begin() + sizeof value);
  return out;
}

std::vector<std::byte> text(std::string_view words) {
  std::vector<std::byte> out(words.size() + 1);
  std::memcpy(out.data(), words.data(), words.size());
  return out;
}

struct Mounted {
  explicit Mounted(std::string name = "disk.raw", bool writable = true)
      : image(make_image(std::make_unique<FakeDriver>(test::FakeOptions{.size = kSize}), "fake", writable)),
        view(must(View::make(*image, {}))),
        system{.view = *view, .name = std::move(name), .attributes = {{"user.a", "value"}}} {}

  struct Answer {
    int number = -1;
    std::vector<std::byte> bytes;
    template <typename T>
    [[nodiscard]] T as() const {
      T out{};
      if (bytes.size() >= sizeof out) std::memcpy(&out, bytes.data(), sizeof out);
      return out;
    }
  };
  Answer serve(std::uint32_t opcode, std::uint64_t inode, std::vector<std::byte> body = {}, uid_t user = 0) {
    TestRequest request(opcode, inode, std::move(body), user);
    serve_request(system, request);
    return {request.number, request.answer};
  }
  std::unique_ptr<Image> image;
  std::unique_ptr<View> view;
  FileSystem system;
};

fuse_write_in write_of(std::uint64_t offset, std::uint32_t size, std::uint32_t flags = 0) {
  fuse_write_in out{};
  out.offset = offset;
  out.size = size;
  out.flags = flags;
  return out;
}

fuse_read_in read_of(std::uint64_t offset, std::uint32_t size) {
  fuse_read_in out{};
  out.offset = offset;
  out.size = size;
  return out;
}

TEST(Operations, WhatIsWrittenReadsBackAndEndsAtTheEnd) {
  Mounted mounted;
  const std::string data(512, 'x');
  const auto written = mounted.serve(FUSE_WRITE, kFile, bytes_of(write_of(1024, 512), data));
  EXPECT_EQ(written.number, 0);
  EXPECT_EQ(written.as<fuse_write_out>().size, 512U);
  const auto got = mounted.serve(FUSE_READ, kFile, bytes_of(read_of(1024, 512)));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(got.bytes.data()), got.bytes.size()), data);
  EXPECT_EQ(mounted.serve(FUSE_READ, kFile, bytes_of(read_of(kSize - 100, 4096))).bytes.size(), 100U);
  EXPECT_EQ(mounted.serve(FUSE_READ, kFile, bytes_of(read_of(UINT64_MAX, 4096))).bytes.size(), 0U);
}

TEST(Operations, ADirectWriteThatTheEndCutsIsRefusedAndABufferedOneIsShort) {
  Mounted mounted;
  const std::string data(1024, 'x');
  const auto direct = bytes_of(write_of(kSize - 512, 1024, O_DIRECT), data);
  EXPECT_EQ(mounted.serve(FUSE_WRITE, kFile, direct).number, ENOSPC);
  const auto buffered = bytes_of(write_of(kSize - 512, 1024), data);
  EXPECT_EQ(mounted.serve(FUSE_WRITE, kFile, buffered).as<fuse_write_out>().size, 512U);
  EXPECT_EQ(mounted.serve(FUSE_WRITE, kFile, bytes_of(write_of(kSize, 512), data)).number, ENOSPC);
}

TEST(Operations, AWriteWithFewerBytesThanItClaimsIsRefused) {
  Mounted mounted;
  EXPECT_EQ(mounted.serve(FUSE_WRITE, kFile, bytes_of(write_of(0, 4096), "short")).number, EIO);
}

TEST(Operations, TheDirectoryHoldsTheOneFile) {
  Mounted mounted;
  EXPECT_EQ(mounted.serve(FUSE_LOOKUP, FUSE_ROOT_ID, text("other")).number, ENOENT);
  const auto found = mounted.serve(FUSE_LOOKUP, FUSE_ROOT_ID, text("disk.raw"));
  EXPECT_EQ(found.number, 0);
  const auto entry = found.as<fuse_entry_out>();
  EXPECT_EQ(entry.nodeid, kFile);
  EXPECT_EQ(entry.attr.size, kSize);
  EXPECT_TRUE(S_ISREG(entry.attr.mode));
  EXPECT_EQ(mounted.serve(FUSE_MKNOD, FUSE_ROOT_ID, text("x")).number, EPERM);

  const auto all = mounted.serve(FUSE_READDIR, FUSE_ROOT_ID, bytes_of(read_of(0, 4096)));
  EXPECT_EQ(all.bytes.size(), 2 * FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + 2) + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + 8));
  EXPECT_TRUE(mounted.serve(FUSE_READDIR, FUSE_ROOT_ID, bytes_of(read_of(3, 4096))).bytes.empty());
  EXPECT_TRUE(mounted.serve(FUSE_READDIR, FUSE_ROOT_ID, bytes_of(read_of(UINT64_MAX, 4096))).bytes.empty());
}

TEST(Operations, AtAFileMountpointTheRootIsTheFile) {
  Mounted mounted("");
  const auto attributes = mounted.serve(FUSE_GETATTR, FUSE_ROOT_ID).as<fuse_attr_out>();
  EXPECT_TRUE(S_ISREG(attributes.attr.mode));
  EXPECT_EQ(attributes.attr.size, kSize);
  EXPECT_EQ(mounted.serve(FUSE_LOOKUP, FUSE_ROOT_ID, text("disk.raw")).number, ENOTDIR);
}

TEST(Operations, ExtendedAttributesTellTheirLength) {
  Mounted mounted;
  fuse_getxattr_in wanted{};
  const std::string name("user.a\0", 7);
  EXPECT_EQ(mounted.serve(FUSE_GETXATTR, kFile, bytes_of(wanted, name)).as<fuse_getxattr_out>().size, 5U);
  wanted.size = 4;
  EXPECT_EQ(mounted.serve(FUSE_GETXATTR, kFile, bytes_of(wanted, name)).number, ERANGE);
  wanted.size = 5;
  EXPECT_EQ(mounted.serve(FUSE_GETXATTR, kFile, bytes_of(wanted, name)).bytes.size(), 5U);
  EXPECT_EQ(mounted.serve(FUSE_GETXATTR, kFile, bytes_of(wanted, std::string_view("user.b\0", 7))).number, ENODATA);
}

TEST(Operations, AReadOnlyImageIsNotOpenedForWriting) {
  Mounted mounted("disk.raw", false);
  fuse_open_in wanted{};
  wanted.flags = O_RDWR;
  EXPECT_EQ(mounted.serve(FUSE_OPEN, kFile, bytes_of(wanted)).number, EROFS);
  wanted.flags = O_RDONLY;
  EXPECT_EQ(mounted.serve(FUSE_OPEN, kFile, bytes_of(wanted)).number, 0);
}

TEST(Operations, OthersAreKeptOutWhereOnlyOneMayIn) {
  Mounted mounted;
  mounted.system.only_user = 1000;
  EXPECT_EQ(mounted.serve(FUSE_GETATTR, kFile, {}, 1001).number, EACCES);
  EXPECT_EQ(mounted.serve(FUSE_GETATTR, kFile, {}, 1000).number, 0);
  EXPECT_EQ(mounted.serve(FUSE_GETATTR, kFile, {}, 0).number, 0);
}

TEST(Operations, WhatIsUnknownIsAnsweredToo) {
  Mounted mounted;
  EXPECT_EQ(mounted.serve(9999, kFile).number, ENOSYS);
  // A forgotten inode gets no answer: the kernel waits for none.
  EXPECT_EQ(mounted.serve(FUSE_FORGET, kFile).number, -1);
}

TEST(Operations, EveryRequestIsAnsweredHoweverItIsCut) {
  Mounted mounted;
  std::mt19937 random(17);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> body(random() % 100);
    for (auto& byte : body) byte = static_cast<std::byte>(random() % 3 == 0 ? random() : 0);
    const auto opcode = static_cast<std::uint32_t>(random() % 52);
    // Room for an answer is made as long as is asked for, and the kernel asks for a MiB at most.
    constexpr std::size_t kHighBytes = offsetof(fuse_read_in, size) + 2;
    for (auto at = kHighBytes; at < std::min(body.size(), kHighBytes + 2); ++at) body[at] = {};
    const auto done = mounted.serve(opcode, random() % 4, body);
    EXPECT_TRUE(done.number >= 0 || opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET) << opcode;
  }
  EXPECT_EQ(mounted.view->size(), kSize);
}

}  // namespace
}  // namespace penstock::fuse
