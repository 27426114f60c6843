// SPDX-License-Identifier: Apache-2.0
// What every Storage must do.
#include "storage/file/file_storage.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/model_disk.hpp"
#include "tests/support/process.hpp"
#include "tests/support/random.hpp"
#include "tests/support/temporary_directory.hpp"

#include <unistd.h>

#include <thread>

namespace penstock::test {
namespace {

constexpr std::uint64_t kSize = 1U << 20U;

/// A storage of kSize zero bytes, and what has to be taken down after it.
class Subject {
 public:
  virtual ~Subject() = default;
  std::shared_ptr<Storage> storage;
  bool fixed_size = false;
};

class MemorySubject final : public Subject {
 public:
  MemorySubject() {
    storage = std::make_shared<MemoryStorage>();
    must(storage->truncate(kSize));
  }
};

class FileSubject final : public Subject {
 public:
  FileSubject() {
    storage = must(create_file_storage(directory_.file("image")));
    must(storage->truncate(kSize));
  }

 private:
  TemporaryDirectory directory_;
};

class BlockDeviceSubject final : public Subject {
 public:
  BlockDeviceSubject() {
    must(must(create_file_storage(directory_.file("disk")))->truncate(kSize));
    const auto made = run("losetup -f --show '" + directory_.file("disk") + "'");
    if (made.status != 0) return;
    device_ = made.output.substr(0, made.output.find('\n'));
    storage = must(open_file_storage(device_, {.writable = true}));
    fixed_size = true;
  }
  ~BlockDeviceSubject() override {
    storage.reset();
    if (!device_.empty()) static_cast<void>(run("losetup -d " + device_));
  }

 private:
  TemporaryDirectory directory_;
  std::string device_;
};

struct Kind {
  const char* name;
  std::unique_ptr<Subject> (*make)();
};

template <typename T>
std::unique_ptr<Subject> make() {
  return std::make_unique<T>();
}

class StorageConformance : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    subject_ = GetParam().make();
    if (subject_->storage == nullptr) GTEST_SKIP() << "needs a loop device";
  }
  Storage& storage() { return *subject_->storage; }
  std::vector<std::byte> read(HostRange range) {
    std::vector<std::byte> out(range.length, std::byte{0xee});
    EXPECT_OK(storage().read(range.offset, out));
    return out;
  }
  std::unique_ptr<Subject> subject_;
};

TEST_P(StorageConformance, StartsAsZeroes) {
  EXPECT_EQ(must(storage().size()), kSize);
  EXPECT_EQ(read({{0}, kSize}), std::vector<std::byte>(kSize));
}

TEST_P(StorageConformance, ReadsPastTheEndAreZero) {
  ASSERT_OK(storage().write({kSize - 1}, std::vector{std::byte{9}}));
  std::vector<std::byte> expected(100);
  expected[0] = std::byte{9};
  EXPECT_EQ(read({{kSize - 1}, 100}), expected);
  EXPECT_EQ(read({{10 * kSize}, 7}), std::vector<std::byte>(7));
}

TEST_P(StorageConformance, IsAFlatRunOfBytes) {
  Random random("StorageConformance");
  ModelDisk model(kSize);
  for (int round = 0; round < 300; ++round) {
    const auto offset = random.below(kSize);
    const auto length = random.between(1, std::min<std::uint64_t>(kSize - offset, 100000));
    std::vector<std::byte> data(length);
    if (random.chance(60)) {
      random.fill(data);
      ASSERT_OK(storage().write({offset}, data));
    } else {
      ASSERT_OK(zero_out(storage(), {{offset}, length}, random.chance(50) ? Zeroing::keep : Zeroing::may_unmap));
    }
    model.write({offset}, data);
    if (round % 10 == 0) {
      ASSERT_EQ(model.difference({0}, read({{0}, kSize})), "") << "round " << round;
    }
  }
  ASSERT_OK(storage().flush());
  EXPECT_EQ(model.difference({0}, read({{0}, kSize})), "");
}

TEST_P(StorageConformance, RefusedZeroesChangeNothing) {
  const std::vector<std::byte> data(4096, std::byte{3});
  ASSERT_OK(storage().write({4096}, data));
  for (const auto zeroing : {Zeroing::keep, Zeroing::may_unmap}) {
    const auto zeroed = storage().write_zeroes({{4096 + 100}, 200}, zeroing);
    if (zeroed) continue;
    EXPECT_EQ(zeroed.error().number(), EOPNOTSUPP);
    EXPECT_EQ(read({{4096}, 4096}), data);
  }
}

TEST_P(StorageConformance, DiscardTouchesItsRangeOnly) {
  const std::vector<std::byte> data(kSize, std::byte{3});
  ASSERT_OK(storage().write({0}, data));
  ASSERT_OK(storage().discard({{10000}, 100000}));
  ASSERT_OK(storage().discard({{200001}, 1}));
  ASSERT_OK(storage().discard({{0}, 0}));
  EXPECT_EQ(read({{0}, 10000}), std::vector<std::byte>(10000, std::byte{3}));
  EXPECT_EQ(read({{110000}, 90001}), std::vector<std::byte>(90001, std::byte{3}));
  EXPECT_EQ(must(storage().size()), kSize);
}

TEST_P(StorageConformance, AllocateKeepsContents) {
  const std::vector<std::byte> data(100000, std::byte{3});
  ASSERT_OK(storage().write({0}, data));
  const auto allocated = storage().allocate({{0}, kSize});
  if (!allocated) {
    EXPECT_EQ(allocated.error().number(), EOPNOTSUPP);
  }
  EXPECT_EQ(read({{0}, 100000}), data);
  EXPECT_EQ(must(storage().size()), kSize);
}

TEST_P(StorageConformance, ExtentsCoverTheWholeAndHolesAreZero) {
  ASSERT_OK(storage().write({300000}, std::vector<std::byte>(5000, std::byte{3})));
  std::uint64_t at = 0;
  bool seen_data = false;
  while (at < kSize) {
    const auto extent = must(storage().extent({at}));
    ASSERT_GE(extent.length, 1U);
    ASSERT_LE(at + extent.length, kSize);
    if (!extent.data) {
      EXPECT_EQ(read({{at}, extent.length}), std::vector<std::byte>(extent.length));
    }
    if (extent.data && at <= 300000 && at + extent.length >= 305000) seen_data = true;
    at += extent.length;
  }
  EXPECT_TRUE(seen_data);
  EXPECT_EQ(must(storage().extent({kSize})).length, 0U);
}

TEST_P(StorageConformance, TruncateCutsAndGrowsWithZeroes) {
  ASSERT_OK(storage().write({0}, std::vector<std::byte>(kSize, std::byte{3})));
  if (subject_->fixed_size) {
    EXPECT_OK(storage().truncate(kSize));
    EXPECT_ERRNO(storage().truncate(kSize / 2), EOPNOTSUPP);
    EXPECT_ERRNO(storage().write({kSize - 1}, std::vector<std::byte>(2)), ENOSPC);
    EXPECT_EQ(read({{kSize - 1}, 1}), std::vector{std::byte{3}});
    return;
  }
  ASSERT_OK(storage().truncate(5001));
  ASSERT_OK(storage().truncate(20000));
  std::vector<std::byte> expected(20000);
  std::fill_n(expected.begin(), 5001, std::byte{3});
  EXPECT_EQ(read({{0}, 20000}), expected);
}

TEST_P(StorageConformance, ThreadsWorkBesideEachOther) {
  constexpr unsigned kThreads = 8;
  constexpr std::uint64_t kPart = kSize / kThreads;
  {
    std::vector<std::jthread> threads;
    for (unsigned thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([this, thread] {
        Random random(thread);
        const std::vector<std::byte> data(512, static_cast<std::byte>(thread + 1));
        for (int round = 0; round < 100; ++round) {
          const HostOffset at{thread * kPart + random.below(kPart / 512) * 512};
          EXPECT_OK(storage().write(at, data));
          EXPECT_EQ(read({at, 512}), data);
          EXPECT_OK(zero_out(storage(), {at, 512}, Zeroing::may_unmap));
          EXPECT_EQ(read({at, 512}), std::vector<std::byte>(512));
          if (round % 25 == 0) {
            EXPECT_OK(storage().flush());
          }
        }
        EXPECT_OK(storage().write({thread * kPart}, data));
      });
    }
  }
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    EXPECT_EQ(read({{thread * kPart}, 512}), std::vector<std::byte>(512, static_cast<std::byte>(thread + 1)));
  }
}

INSTANTIATE_TEST_SUITE_P(Every, StorageConformance,
                         testing::Values(Kind{"memory", make<MemorySubject>}, Kind{"file", make<FileSubject>},
                                         Kind{"block_device", make<BlockDeviceSubject>}),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace penstock::test
