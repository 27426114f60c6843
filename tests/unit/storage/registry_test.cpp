// SPDX-License-Identifier: Apache-2.0
#include "tests/support/expect.hpp"
#include "tests/support/temporary_directory.hpp"

#include <penstock/storage.hpp>

namespace penstock::test {
namespace {

TEST(StorageRegistry, FilePrefixIsStripped) {
  const TemporaryDirectory directory;
  ASSERT_OK(create_storage("file:" + directory.file("image")));
  EXPECT_OK(open_storage(directory.file("image"), {}));
  EXPECT_OK(open_storage("file:" + directory.file("image"), {}));
  EXPECT_OK(open_storage("file://" + directory.file("image"), {}));
}

TEST(StorageRegistry, UnknownProtocolIsRefusedByName) {
  for (const auto* name : {"nbd:localhost", "http://host/x", "memory:", "memory:x", "a\nb:c"}) {
    const auto opened = open_storage(name, {});
    EXPECT_TRUE(failed_with(opened, EINVAL)) << name;
    EXPECT_TRUE(opened.error().message().starts_with("unknown protocol '")) << opened.error().message();
    EXPECT_EQ(opened.error().message().find('\n'), std::string::npos);
    EXPECT_ERRNO(create_storage(name), EINVAL);
  }
}

TEST(StorageRegistry, ColonBehindASlashIsPartOfThePath) {
  const TemporaryDirectory directory;
  ASSERT_OK(create_storage(directory.file("a:b")));
  EXPECT_OK(open_storage(directory.file("a:b"), {}));
  EXPECT_ERRNO(open_storage("./no:such:file", {}), ENOENT);
}

TEST(StorageRegistry, NameWithNulIsRefused) {
  const TemporaryDirectory directory;
  ASSERT_OK(create_storage(directory.file("image")));
  EXPECT_ERRNO(open_storage(directory.file("image") + std::string("\0.raw", 5), {}), EINVAL);
}

}  // namespace
}  // namespace penstock::test
