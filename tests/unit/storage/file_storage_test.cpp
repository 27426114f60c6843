// SPDX-License-Identifier: Apache-2.0
#include "storage/file/file_storage.hpp"
#include "base/descriptor.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/process.hpp"
#include "tests/support/random.hpp"
#include "tests/support/temporary_directory.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <thread>

namespace penstock::test {
namespace {

std::vector<std::byte> bytes_of(std::size_t length, int value) {
  return std::vector<std::byte>(length, static_cast<std::byte>(value));
}

std::vector<std::byte> read_back(Storage& storage, std::uint64_t offset, std::size_t length) {
  auto out = bytes_of(length, 0xee);
  EXPECT_OK(storage.read({offset}, out));
  return out;
}

class FileStorageTest : public testing::Test {
 protected:
  std::shared_ptr<Storage> make(const std::string& name = "image") {
    return must(create_file_storage(directory_.file(name)));
  }
  TemporaryDirectory directory_;
};

TEST_F(FileStorageTest, ReadsPastTheEndAreZero) {
  const auto storage = make();
  ASSERT_OK(storage->write({0}, bytes_of(700, 1)));
  auto expected = bytes_of(1000, 0);
  std::fill_n(expected.begin(), 200, std::byte{1});
  EXPECT_EQ(read_back(*storage, 500, 1000), expected);
  EXPECT_EQ(read_back(*storage, 1ULL << 40U, 10), bytes_of(10, 0));
  EXPECT_EQ(read_back(*storage, INT64_MAX - 4ULL, 10), bytes_of(10, 0));
  EXPECT_EQ(read_back(*storage, UINT64_MAX - 20, 10), bytes_of(10, 0));
}

/// Of the thread that made it.
class Counting final : public WaitRules {
 public:
  [[nodiscard]] bool observes() const noexcept override { return true; }
  void begins_to_wait() noexcept override { ++begun; }
  void goes_on() noexcept override { ++ended; }
  int begun = 0;
  int ended = 0;
  const WaitScope scope{this};
};

TEST_F(FileStorageTest, OnlyReadsThatMayWaitAreTold) {
  const auto storage = make();
  ASSERT_OK(storage->write({0}, bytes_of(1U << 20U, 1)));
  Counting counting;
  EXPECT_EQ(read_back(*storage, 5000, 9000), bytes_of(9000, 1));
  const bool answers_at_once = counting.begun == 0;
  EXPECT_EQ(counting.begun, counting.ended);
  EXPECT_EQ(read_back(*storage, (1U << 20U) - 10, 20).back(), std::byte{0});
  EXPECT_OK(storage->flush());
  EXPECT_GT(counting.begun, 0);  // a flush always waits
  const int before = counting.begun;
  ASSERT_EQ(posix_fadvise(storage->facts().descriptor, 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_EQ(read_back(*storage, 5000, 600000), bytes_of(600000, 1));
  // A file system in memory keeps its pages whatever it is advised.
  if (answers_at_once && counting.begun == before) GTEST_SKIP() << "the file system does not forget its cache";
  EXPECT_GT(counting.begun, before);
  EXPECT_EQ(counting.begun, counting.ended);
}

TEST_F(FileStorageTest, WritesGrowTheFile) {
  const auto storage = make();
  ASSERT_OK(storage->write({10000}, bytes_of(1, 7)));
  EXPECT_EQ(must(storage->size()), 10001U);
  EXPECT_EQ(read_back(*storage, 9999, 3), (std::vector{std::byte{0}, std::byte{7}, std::byte{0}}));
}

TEST_F(FileStorageTest, OffsetsBehindTheLargestAreRefused) {
  const auto storage = make();
  EXPECT_ERRNO(storage->write({INT64_MAX}, bytes_of(2, 1)), EFBIG);
  EXPECT_ERRNO(storage->write({UINT64_MAX}, bytes_of(2, 1)), EFBIG);
  EXPECT_ERRNO(storage->write_zeroes({{UINT64_MAX - 1}, 100}, Zeroing::keep), EFBIG);
  EXPECT_ERRNO(storage->truncate(UINT64_MAX), EFBIG);
  EXPECT_EQ(must(storage->size()), 0U);
}

TEST_F(FileStorageTest, ZeroesInsideAcrossAndBehindTheEndReadAsZeroAndGrow) {
  for (const auto zeroing : {Zeroing::keep, Zeroing::may_unmap}) {
    for (const HostRange range : {HostRange{{100}, 50}, HostRange{{4096}, 8192}, HostRange{{30000}, 20000},
                                  HostRange{{100000}, 5000}, HostRange{{39999}, 2}}) {
      const auto storage = make();
      ASSERT_OK(storage->truncate(0));
      ASSERT_OK(storage->write({0}, bytes_of(40000, 0xab)));
      ASSERT_OK(storage->write_zeroes(range, zeroing));
      const auto size = std::max<std::uint64_t>(40000, range.end().value);
      EXPECT_EQ(must(storage->size()), size);
      auto expected = bytes_of(size, 0);
      std::fill_n(expected.begin(), 40000, std::byte{0xab});
      std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(range.offset.value), range.length, std::byte{0});
      EXPECT_EQ(read_back(*storage, 0, size), expected);
    }
  }
}

TEST_F(FileStorageTest, UnmappingGivesRoomBackAndKeepingDoesNot) {
  const auto storage = make();
  ASSERT_OK(storage->write({0}, bytes_of(1U << 20U, 1)));
  const auto before = must(storage->allocated_bytes());
  ASSERT_GE(before, 1U << 20U);
  ASSERT_OK(storage->write_zeroes({{0}, 256U << 10U}, Zeroing::keep));
  EXPECT_EQ(must(storage->allocated_bytes()), before);
  ASSERT_OK(storage->write_zeroes({{0}, 256U << 10U}, Zeroing::may_unmap));
  EXPECT_LT(must(storage->allocated_bytes()), before);
  const auto hole = must(storage->extent({0}));
  EXPECT_FALSE(hole.data);
  EXPECT_EQ(hole.length, 256U << 10U);
  const auto data = must(storage->extent({hole.length}));
  EXPECT_TRUE(data.data);
  EXPECT_EQ(data.length, (1U << 20U) - hole.length);
}

TEST_F(FileStorageTest, ZeroesOfMoreThanFourGibibytesAreWhole) {
  const auto storage = make();
  constexpr std::uint64_t kSize = 5ULL << 30U;
  ASSERT_OK(storage->truncate(kSize));
  for (const std::uint64_t at : {0ULL, 1ULL << 31U, 1ULL << 32U, kSize - 512ULL}) {
    ASSERT_OK(storage->write({at}, bytes_of(512, 5)));
  }
  ASSERT_OK(storage->write_zeroes({{0}, kSize}, Zeroing::may_unmap));
  for (const std::uint64_t at : {0ULL, 1ULL << 31U, 1ULL << 32U, kSize - 512ULL}) {
    EXPECT_EQ(read_back(*storage, at, 512), bytes_of(512, 0)) << at;
  }
  EXPECT_EQ(must(storage->size()), kSize);
}

TEST_F(FileStorageTest, ExtentsAtAndBehindTheEndAreEmpty) {
  const auto storage = make();
  ASSERT_OK(storage->truncate(1U << 20U));
  EXPECT_EQ(must(storage->extent({1U << 20U})).length, 0U);
  EXPECT_EQ(must(storage->extent({UINT64_MAX})).length, 0U);
  const auto all = must(storage->extent({17}));
  EXPECT_FALSE(all.data);
  EXPECT_EQ(all.length, (1U << 20U) - 17U);
}

TEST_F(FileStorageTest, DiscardNeverGrowsAndAllocateDoes) {
  const auto storage = make();
  ASSERT_OK(storage->write({0}, bytes_of(100, 1)));
  ASSERT_OK(storage->discard({{0}, 1U << 20U}));
  EXPECT_EQ(must(storage->size()), 100U);
  ASSERT_OK(storage->allocate({{0}, 1U << 20U}));
  EXPECT_EQ(must(storage->size()), 1U << 20U);
  EXPECT_GE(must(storage->allocated_bytes()), 1U << 20U);
}

TEST_F(FileStorageTest, ParallelGrowthLosesNoWrite) {
  const auto storage = make();
  constexpr std::uint64_t kPiece = 4096;
  constexpr unsigned kThreads = 4;
  constexpr unsigned kRounds = 200;
  {
    std::vector<std::jthread> threads;
    for (unsigned thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&storage, thread] {
        for (unsigned round = 0; round < kRounds; ++round) {
          const HostOffset at{(std::uint64_t{round} * kThreads + thread) * kPiece};
          // Half grow by zeroes, half by data: neither may cut what the other appended.
          if (thread % 2 == 0) {
            EXPECT_OK(storage->write_zeroes({at, kPiece}, Zeroing::may_unmap));
          } else {
            EXPECT_OK(storage->write(at, bytes_of(kPiece, 9)));
          }
        }
      });
    }
  }
  EXPECT_EQ(must(storage->size()), kRounds * kThreads * kPiece);
  for (unsigned piece = 0; piece < kRounds * kThreads; ++piece) {
    ASSERT_EQ(read_back(*storage, piece * kPiece, kPiece), bytes_of(kPiece, piece % 2 == 0 ? 0 : 9)) << piece;
  }
}

TEST_F(FileStorageTest, ReadOnlyRefusesEveryChange) {
  ASSERT_OK(make()->write({0}, bytes_of(10, 1)));
  const auto storage = must(open_file_storage(directory_.file("image"), {}));
  EXPECT_FALSE(storage->writable());
  EXPECT_ERRNO(storage->write({0}, bytes_of(1, 2)), EBADF);
  EXPECT_ERRNO(storage->write_zeroes({{0}, 1}, Zeroing::keep), EBADF);
  EXPECT_ERRNO(storage->discard({{0}, 1}), EBADF);
  EXPECT_ERRNO(storage->allocate({{0}, 1}), EBADF);
  EXPECT_ERRNO(storage->truncate(0), EBADF);
  EXPECT_OK(storage->flush());
  EXPECT_EQ(read_back(*storage, 0, 10), bytes_of(10, 1));
}

TEST_F(FileStorageTest, TwoNamesOfOneFileAreTheSame) {
  const auto one = make();
  std::filesystem::create_hard_link(directory_.file("image"), directory_.file("other"));
  std::filesystem::create_symlink("image", directory_.file("link"));
  for (const auto* name : {"other", "link"}) {
    const auto two = must(open_file_storage(directory_.file(name), {.lock = false}));
    EXPECT_EQ(one->facts().identity, two->facts().identity);
  }
  EXPECT_NE(one->facts().identity, make("third")->facts().identity);
}

TEST_F(FileStorageTest, DescriptorReadsTheSameBytes) {
  const auto storage = make();
  ASSERT_OK(storage->write({3}, bytes_of(4, 8)));
  auto out = bytes_of(4, 0);
  ASSERT_EQ(pread(storage->facts().descriptor, out.data(), out.size(), 3), 4);
  EXPECT_EQ(out, bytes_of(4, 8));
}

TEST_F(FileStorageTest, FailedFlushStaysFailed) {
  const auto made = make();
  // A pipe cannot be synced: fdatasync(2) fails with EINVAL, and would go well once the descriptor is another.
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  FileStorage storage("pipe", Descriptor(ends[0]), {.writable = true});
  EXPECT_ERRNO(storage.flush(), EINVAL);
  ASSERT_EQ(dup2(made->facts().descriptor, ends[0]), ends[0]);
  EXPECT_ERRNO(storage.flush(), EINVAL);
  EXPECT_OK(made->flush());
  close(ends[1]);
}

TEST_F(FileStorageTest, ErrorsSayWhatAndWhere) {
  const auto storage = make();
  struct rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small{4096, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto written = storage->write({0x50000}, bytes_of(10, 1));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().message(), "write of 10 bytes at 0x50000: File too large");
}

}  // namespace
}  // namespace penstock::test
