// SPDX-License-Identifier: Apache-2.0
#include "format/raw/raw_driver.hpp"
#include "storage/file/file_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_directory.hpp"

namespace penstock::test {
namespace {

constexpr std::uint64_t kSize = 1U << 20U;

TEST(RawCreate, SummaryIsQemuImgs) {
  if (!have_program("qemu-img")) GTEST_SKIP() << "needs qemu-utils";
  const TemporaryDirectory directory;
  for (const auto& options : std::vector<std::map<std::string, std::string>>{
           {}, {{"preallocation", "off"}}, {{"preallocation", "full"}, {"nocow", "on"}}}) {
    std::string flags;
    for (const auto& [key, value] : options) flags.append(" -o ").append(key).append("=").append(value);
    const auto path = directory.file("by-qemu");
    const auto theirs = run("qemu-img create -f raw" + flags + " '" + path + "' 1M");
    const auto ours = must(plan_raw({.size = kSize, .options = options}));
    EXPECT_EQ("Formatting '" + path + "', fmt=raw " + ours->summary() + "\n", theirs.output);
  }
}

TEST(RawCreate, PreallocationSetsRoomAside) {
  const TemporaryDirectory directory;
  for (const auto* mode : {"off", "falloc", "full"}) {
    const auto storage = must(create_file_storage(directory.file(mode)));
    const auto plan = must(plan_raw({.size = kSize, .options = {{"preallocation", mode}}}));
    ASSERT_OK(plan->write(storage, nullptr));
    EXPECT_EQ(must(storage->size()), kSize);
    EXPECT_EQ(must(storage->allocated_bytes()) >= kSize, std::string_view(mode) != "off") << mode;
  }
}

TEST(RawCreate, NonsenseIsRefused) {
  EXPECT_ERRNO(plan_raw({.size = kSize, .backing = {.name = "base"}}), EINVAL);
  EXPECT_ERRNO(plan_raw({.size = kSize, .options = {{"preallocation", "metadata"}}}), EINVAL);
  EXPECT_ERRNO(plan_raw({.size = kSize, .options = {{"cluster_size", "4096"}}}), EINVAL);
  EXPECT_ERRNO(plan_raw({.size = kSize, .options = {{"nocow", "perhaps"}}}), EINVAL);
  EXPECT_ERRNO(plan_raw({.size = 1ULL << 63U}), EFBIG);
}

}  // namespace
}  // namespace penstock::test
