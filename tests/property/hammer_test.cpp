// SPDX-License-Identifier: Apache-2.0
// 32 threads on the same few clusters of one cold overlay. Every sector that is written says what it is, so that a
// reader can tell a whole sector of the right place from a torn, misplaced or stale one without knowing the order of
// events. PENSTOCK_HAMMER_SECONDS sets the time for all images together (5).
#include "tests/support/expect.hpp"
#include "tests/support/layered.hpp"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

namespace penstock {
namespace {

using test::Below;
using test::Layered;
using test::must;
using test::Random;

constexpr std::uint64_t kSector = 512;
constexpr unsigned kThreads = 32;
constexpr std::uint64_t kSize = (1U << 20U) + 3 * kSector;

struct SectorLabel {
  std::uint64_t magic = 0x70656e73746f636bULL;
  std::uint64_t sector = 0;
  std::uint64_t writer = 0;
  std::uint64_t turn = 0;
};

/// A whole sector that follows from its label.
void write_label(std::span<std::byte> sector, const SectorLabel& label) {
  for (std::size_t at = 0; at < sector.size(); at += sizeof label) std::memcpy(&sector[at], &label, sizeof label);
}

/// Empty when the sector is zero, was there at first, or is one whole sector that a thread wrote to this place.
std::string what_is_wrong(std::span<const std::byte> found, std::uint64_t sector, const test::ModelDisk& at_first) {
  if (at_first.difference({sector * kSector}, found).empty()) return {};
  if (std::ranges::all_of(found, [](std::byte byte) { return byte == std::byte{0}; })) return {};
  SectorLabel label;
  std::memcpy(&label, found.data(), sizeof label);
  if (label.magic != SectorLabel{}.magic || label.writer >= kThreads) return "it is nothing that was ever written";
  if (label.sector != sector) return "it belongs to sector " + std::to_string(label.sector);
  std::vector<std::byte> whole(kSector);
  write_label(whole, label);
  return std::ranges::equal(whole, found) ? std::string() : "it is torn";
}

class Hammer {
 public:
  Hammer(const Layered& layered, std::chrono::milliseconds time)
      : layered_(layered), image_(layered.open(true)), until_(std::chrono::steady_clock::now() + time) {}

  void run(Random& random) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kThreads; ++i) {
      threads.emplace_back([this, i, mine = random.fork()]() mutable {
        for (std::uint64_t turn = 0; std::chrono::steady_clock::now() < until_ && !failed_; ++turn) {
          if (auto wrong = request(i, turn, mine); !wrong.empty()) report(std::move(wrong));
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong_, "");
    if (failed_) return;
    check_sectors(*image_);
    EXPECT_OK(image_->close());
    check_sectors(*layered_.open(false));
    const auto check = layered_.top.check();
    ASSERT_OK(check);
    EXPECT_EQ(check->corruptions, 0U);
    EXPECT_EQ(check->leaks, 0U);
  }

 private:
  void report(std::string wrong) {
    const std::lock_guard lock(mutex_);
    if (!failed_.exchange(true)) wrong_ = std::move(wrong);
  }

  template <typename T>
  static std::string words(const Result<T>& result) {
    return result ? std::string() : result.error().message();
  }

  std::string verify(GuestRange range, std::span<const std::byte> found) const {
    for (std::uint64_t at = 0; at < range.length; at += kSector) {
      const auto sector = (range.offset.value + at) / kSector;
      auto wrong = what_is_wrong(found.subspan(at, kSector), sector, layered_.model);
      if (!wrong.empty()) return "sector " + std::to_string(sector) + ": " + wrong;
    }
    return {};
  }

  /// Whole sectors, most of them in the first few clusters.
  static GuestRange random_sectors(Random& random) {
    const auto sectors = kSize / kSector;
    const auto first = random.below(random.chance(80) ? 512 : sectors);
    return {{first * kSector}, random.between(1, std::min<std::uint64_t>(sectors - first, 200)) * kSector};
  }

  std::string request(unsigned writer, std::uint64_t turn, Random& random) {
    const auto range = random_sectors(random);
    const auto zeroing = random.chance(50) ? Zeroing::may_unmap : Zeroing::keep;
    std::vector<std::byte> bytes(range.length);
    switch (random.below(16)) {
      case 0:
      case 1:
        return words(image_->write_zeroes(range, zeroing));
      case 2:
      case 3:
        return words(image_->discard(range));
      case 4:
        return random.chance(20) ? words(image_->flush()) : std::string();
      case 5:
        return words(image_->extent(range));
      case 6:
        return random.chance(30) ? words(image_->allocate(range)) : std::string();
      case 7:
      case 8:
      case 9:
      case 10:
      case 11:
        for (std::uint64_t at = 0; at < range.length; at += kSector) {
          write_label(std::span(bytes).subspan(at, kSector),
                      {.sector = (range.offset.value + at) / kSector, .writer = writer, .turn = turn});
        }
        return words(image_->write(range.offset, bytes));
      default:
        if (auto failed = words(image_->read(range.offset, bytes)); !failed.empty()) return failed;
        return verify(range, bytes);
    }
  }

  void check_sectors(Image& image) const {
    std::vector<std::byte> all(kSize);
    ASSERT_OK(image.read({0}, all));
    EXPECT_EQ(verify({{0}, kSize}, all), "");
  }

  const Layered& layered_;
  const std::unique_ptr<Image> image_;
  const std::chrono::steady_clock::time_point until_;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::string wrong_;
};

struct Target {
  test::Shape shape;
  Below below;
};

const std::vector<Target>& targets() {
  static const std::vector<Target> all{
      {{.name = "v3", .backing = true}, Below::raw},
      {{.name = "v2", .options = {{"compat", "0.10"}}, .backing = true}, Below::shorter},
      {{.name = "v3_small", .options = {{"cluster_size", "512"}, {"refcount_bits", "1"}}, .backing = true}, Below::raw},
      {{.name = "extended_l2", .options = {{"extended_l2", "on"}}, .backing = true}, Below::chain},
      {{.name = "lazy", .options = {{"lazy_refcounts", "on"}, {"cluster_size", "4096"}}, .backing = true}, Below::raw},
      {{.name = "over_compressed", .options = {{"cluster_size", "4096"}}, .backing = true}, Below::compressed},
      {{.name = "data_file", .options = {{"data_file", "data"}, {"cluster_size", "4096"}}, .backing = true},
       Below::raw},
  };
  return all;
}

std::chrono::milliseconds time_each() {
  const char* const given = std::getenv("PENSTOCK_HAMMER_SECONDS");
  const double seconds = given == nullptr ? 5.0 : std::strtod(given, nullptr);
  return std::chrono::milliseconds(static_cast<long>(seconds * 1000 / static_cast<double>(targets().size())));
}

class HammerOn : public testing::TestWithParam<Target> {};

TEST_P(HammerOn, KeepsEverySectorWhole) {
  Random random("HammerOn." + GetParam().shape.name);
  const auto layered = Layered::create(GetParam().shape, GetParam().below, kSize, random);
  if (!layered) GTEST_SKIP() << "no qemu-img";
  Hammer(*layered, time_each()).run(random);
}

INSTANTIATE_TEST_SUITE_P(Targets, HammerOn, testing::ValuesIn(targets()),
                         [](const auto& target) { return target.param.shape.name; });

}  // namespace
}  // namespace penstock
