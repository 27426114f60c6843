// SPDX-License-Identifier: Apache-2.0
// What every FormatDriver must do, in every shape its images can have.
#include "tests/support/expect.hpp"
#include "tests/support/model_disk.hpp"
#include "tests/support/random.hpp"
#include "tests/support/shape.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

namespace penstock::test {
namespace {

constexpr std::byte kBackingByte{0xbb};  // what a backing file would show

class FormatConformance : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    const auto probe = ShapedImage::create(GetParam(), 1U << 20U);
    cluster_ = must(probe.open(false))->geometry().cluster_size;
    unit_ = must(probe.open(false))->geometry().allocation_unit;
    // Not a whole number of clusters.
    size_ = std::max<std::uint64_t>(16, (64U << 10U) / cluster_) * cluster_ + 512;
    image_ = ShapedImage::create(GetParam(), size_);
    driver_ = must(image_.open(true));
    must(driver_->begin_writing());
  }

  void TearDown() override {
    if (driver_ != nullptr) close();
    const auto report = image_.check();
    if (!report && report.error().is(EOPNOTSUPP)) return;
    ASSERT_OK(report);
    EXPECT_EQ(report->corruptions, 0U);
    EXPECT_EQ(report->leaks, 0U);
    EXPECT_EQ(report->check_errors, 0U);
  }

  void close() {
    EXPECT_OK(driver_->close());
    driver_.reset();
  }
  void reopen(bool writable) {
    if (driver_ != nullptr) close();
    driver_ = must(image_.open(writable));
  }
  /// A fresh image has room for every cluster (raw, and qcow2 over a raw data file): there is nothing to reserve.
  [[nodiscard]] bool never_reserves() { return mapped_in_place(cluster(0)); }
  [[nodiscard]] bool mapped_in_place(GuestRange range) { return must(driver_->map(range)).in_place; }
  [[nodiscard]] GuestRange cluster(std::uint64_t index) const { return {{index * cluster_}, cluster_}; }
  [[nodiscard]] std::uint64_t padded_size() const { return align_up(size_, cluster_); }

  /// What the image would show, with kBackingByte for unallocated parts of a shape with a backing file.
  std::vector<std::byte> read(GuestRange range) {
    std::vector<std::byte> out(range.length);
    for (std::uint64_t done = 0; done < range.length;) {
      const auto mapping = must(driver_->map({range.offset + done, range.length - done}));
      if (mapping.length == 0 || mapping.length > range.length - done) throw std::runtime_error("map() out of bounds");
      const auto part = std::span(out).subspan(done, mapping.length);
      if (mapping.kind == MappingKind::data) must(mapping.storage->read(mapping.host_offset, part));
      if (mapping.kind == MappingKind::unallocated && GetParam().backing) std::ranges::fill(part, kBackingByte);
      done += mapping.length;
    }
    return out;
  }

  static void fill(const Reservation& reservation, std::byte value) {
    for (const auto& run : reservation.runs()) {
      must(run.storage->write(run.host_offset, std::vector<std::byte>(run.guest.length, value)));
    }
  }

  /// Every byte of `range` (whole units) becomes `value`, by the way the image would take.
  void write(GuestRange range, std::byte value) {
    while (!range.empty()) {
      const auto mapping = must(driver_->map(range));
      std::uint64_t length = mapping.length;
      if (mapping.kind == MappingKind::data && mapping.in_place) {
        must(mapping.storage->write(mapping.host_offset, std::vector<std::byte>(length, value)));
      } else {
        auto reservation = must(driver_->reserve({range.offset, length}));
        fill(reservation, value);
        length = std::min(range.length, reservation.range().end() - range.offset);
        must(driver_->publish(std::move(reservation)));
      }
      range = {range.offset + length, range.length - length};
    }
  }

  void expect_all(GuestRange range, std::byte value) {
    const auto found = read(range);
    const auto wrong = std::ranges::find_if(found, [value](std::byte byte) { return byte != value; });
    EXPECT_EQ(wrong, found.end()) << "guest byte "
                                  << range.offset.value + static_cast<std::uint64_t>(wrong - found.begin()) << " is "
                                  << std::to_integer<int>(*wrong);
  }
  [[nodiscard]] static std::byte fresh() { return GetParam().backing ? kBackingByte : std::byte{0}; }

  std::uint64_t cluster_ = 0;
  std::uint64_t unit_ = 0;
  std::uint64_t size_ = 0;
  ShapedImage image_;
  std::unique_ptr<FormatDriver> driver_;
};

TEST_P(FormatConformance, GeometryIsSane) {
  EXPECT_EQ(driver_->format(), GetParam().format);
  EXPECT_EQ(driver_->virtual_size(), size_);
  EXPECT_TRUE(std::has_single_bit(cluster_));
  EXPECT_TRUE(std::has_single_bit(unit_));
  EXPECT_LE(unit_, cluster_);
  EXPECT_EQ(driver_->backing().name, GetParam().backing ? "base" : "");
}

TEST_P(FormatConformance, FreshImageShowsItsBackingFileOrZero) {
  expect_all({{0}, size_}, fresh());
}

TEST_P(FormatConformance, MapAnswersStayInBounds) {
  Random random("MapAnswersStayInBounds");
  for (int round = 0; round < 20; ++round) {
    if (round % 2 == 1) write(cluster(random.below(size_ / cluster_)), std::byte{1});
    for (int question = 0; question < 50; ++question) {
      const auto offset = random.below(padded_size());
      const auto length = random.between(1, padded_size() - offset);
      const auto mapping = must(driver_->map({{offset}, length}));
      ASSERT_GE(mapping.length, 1U);
      ASSERT_LE(mapping.length, length);
      if (mapping.kind == MappingKind::data) {
        ASSERT_NE(mapping.storage, nullptr);
        const auto files = driver_->files();
        ASSERT_NE(std::ranges::find(files, mapping.storage), files.end());
      }
      ASSERT_NE(mapping.kind, MappingKind::compressed);
    }
  }
}

TEST_P(FormatConformance, MappingsOfOneRangeAgreeHoweverItIsAsked) {
  write(cluster(1), std::byte{1});
  write(cluster(2), std::byte{2});
  write(cluster(5), std::byte{5});
  for (std::uint64_t offset = 0; offset + 512 <= padded_size(); offset += std::max<std::uint64_t>(512, cluster_ / 8)) {
    const auto whole = must(driver_->map({{offset}, padded_size() - offset}));
    const auto piece = must(driver_->map({{offset + whole.length - 1}, 1}));
    EXPECT_EQ(piece.kind, whole.kind) << offset;
    if (whole.kind == MappingKind::data) {
      EXPECT_EQ(piece.host_offset, whole.host_offset + (whole.length - 1)) << offset;
    }
  }
}

TEST_P(FormatConformance, UnpublishedReservationIsInvisible) {
  if (never_reserves()) GTEST_SKIP() << "never reserves";
  const auto reservation = must(driver_->reserve(cluster(3)));
  fill(reservation, std::byte{0x11});
  expect_all({{0}, size_}, fresh());
  ASSERT_OK(driver_->flush());
  expect_all({{0}, size_}, fresh());
  EXPECT_NE(must(driver_->map(cluster(3))).kind, MappingKind::data);
}

TEST_P(FormatConformance, DroppedReservationFreesItsRoom) {
  if (never_reserves()) GTEST_SKIP() << "never reserves";
  for (int round = 0; round < 10; ++round) must(driver_->reserve(cluster(3)));
  ASSERT_OK(driver_->flush());
  const auto before = must(driver_->storage().size());
  for (int round = 0; round < 300; ++round) {
    must(driver_->reserve(cluster(3)));
    if (round % 50 == 0) {
      ASSERT_OK(driver_->flush());
    }
  }
  ASSERT_OK(driver_->flush());
  // Room for what was reserved at one time, not for every one there ever was.
  EXPECT_LE(must(driver_->storage().size()), before + 64 * cluster_);
}

TEST_P(FormatConformance, ReservationCoversWhatWasAskedFirstAndHasNoGaps) {
  if (never_reserves()) GTEST_SKIP() << "never reserves";
  for (const std::uint64_t length : {unit_, cluster_, 5 * cluster_}) {
    const GuestRange want{{2 * cluster_ + cluster_ - unit_}, length};
    const auto reservation = must(driver_->reserve(want));
    const auto range = reservation.range();
    EXPECT_LE(range.offset, want.offset);
    EXPECT_GE(range.end(), want.offset + unit_);
    EXPECT_TRUE(widen(want, cluster_).contains(range));
    GuestOffset at = range.offset;
    for (const auto& run : reservation.runs()) {
      EXPECT_EQ(run.guest.offset, at);
      EXPECT_NE(run.storage, nullptr);
      at = run.guest.end();
    }
    EXPECT_EQ(at, range.end());
  }
}

TEST_P(FormatConformance, RoomSaidToReadZeroDoes) {
  if (never_reserves()) GTEST_SKIP() << "never reserves";
  for (std::uint64_t index = 0; index < 8; ++index) {
    if (index % 3 == 0) {
      write(cluster(index + 1), std::byte{0x44});
      ASSERT_OK(driver_->discard(cluster(index + 1)));
      ASSERT_OK(driver_->flush());
    }
    if (mapped_in_place(cluster(index))) continue;  // what version 2 with a backing file does not forget
    auto reservation = must(driver_->reserve(cluster(index)));
    for (const auto& run : reservation.runs()) {
      if (!run.reads_zero) continue;
      std::vector<std::byte> found(run.guest.length, std::byte{0xee});
      ASSERT_OK(run.storage->read(run.host_offset, found));
      EXPECT_EQ(found, std::vector<std::byte>(run.guest.length));
    }
    fill(reservation, std::byte{0x55});
    ASSERT_OK(driver_->publish(std::move(reservation)));
  }
}

TEST_P(FormatConformance, PublishedDataIsSeenAtOnceAndInPlace) {
  write(cluster(3), std::byte{0x22});
  expect_all(cluster(3), std::byte{0x22});
  expect_all({{0}, 3 * cluster_}, fresh());
  expect_all({{4 * cluster_}, size_ - 4 * cluster_}, fresh());
  const auto mapping = must(driver_->map(cluster(3)));
  EXPECT_EQ(mapping.kind, MappingKind::data);
  EXPECT_TRUE(mapping.in_place);
  EXPECT_EQ(mapping.length, cluster_);
}

TEST_P(FormatConformance, LastPartialClusterIsWritten) {
  const GuestRange last{{align_down(size_, cluster_)}, std::min(cluster_, align_up(512, unit_))};
  write({last.offset, align_up(size_ - last.offset.value, unit_)}, std::byte{0x33});
  expect_all({last.offset, size_ - last.offset.value}, std::byte{0x33});
  reopen(false);
  expect_all({last.offset, size_ - last.offset.value}, std::byte{0x33});
}

TEST_P(FormatConformance, HostRoomIsNeverSharedByTwoClusters) {
  std::vector<HostOffset> seen;
  for (std::uint64_t index = 0; index < size_ / cluster_; ++index) write(cluster(index), static_cast<std::byte>(index));
  for (std::uint64_t index = 0; index < size_ / cluster_; ++index) {
    expect_all(cluster(index), static_cast<std::byte>(index));
    seen.push_back(must(driver_->map(cluster(index))).host_offset);
  }
  std::ranges::sort(seen);
  for (std::size_t index = 1; index < seen.size(); ++index) EXPECT_GE(seen[index] - seen[index - 1], cluster_);
}

TEST_P(FormatConformance, PublishedZeroesHideWhatWasThere) {
  for (const auto zeroing : {Zeroing::keep, Zeroing::may_unmap}) {
    write(cluster(1), std::byte{0x22});
    write(cluster(3), std::byte{0x22});
    for (const std::uint64_t index : {std::uint64_t{1}, std::uint64_t{2}}) {
      GuestRange rest = cluster(index);
      while (!rest.empty()) {
        const auto before = read(rest);
        const auto done = driver_->publish_zero(rest, zeroing);
        if (!done) {
          EXPECT_EQ(done.error().number(), EOPNOTSUPP);
          EXPECT_EQ(read(rest), before);
          break;
        }
        ASSERT_GE(*done, std::min(unit_, rest.length));
        ASSERT_LE(*done, rest.length);
        expect_all({rest.offset, *done}, std::byte{0});
        rest = {rest.offset + *done, rest.length - *done};
      }
    }
    expect_all(cluster(3), std::byte{0x22});
    ASSERT_OK(driver_->flush());
  }
}

TEST_P(FormatConformance, ZeroedClusterTakesDataAgain) {
  write(cluster(1), std::byte{0x22});
  const auto zeroed = driver_->publish_zero(cluster(1), Zeroing::keep);
  if (!zeroed) GTEST_SKIP() << "cannot represent zeroes here";
  write(cluster(1), std::byte{0x23});
  expect_all(cluster(1), std::byte{0x23});
  reopen(false);
  expect_all(cluster(1), std::byte{0x23});
}

TEST_P(FormatConformance, DiscardForgetsWholeClustersOnly) {
  write({{0}, 6 * cluster_}, std::byte{0x22});
  ASSERT_OK(driver_->discard({{2 * cluster_}, 2 * cluster_}));
  expect_all({{0}, 2 * cluster_}, std::byte{0x22});
  expect_all({{4 * cluster_}, 2 * cluster_}, std::byte{0x22});
  const auto found = read({{2 * cluster_}, 2 * cluster_});
  const bool forgotten = std::ranges::all_of(found, [](std::byte byte) { return byte == std::byte{0}; });
  const bool kept = std::ranges::all_of(found, [](std::byte byte) { return byte == std::byte{0x22}; });
  EXPECT_TRUE(forgotten || kept);
  write({{2 * cluster_}, cluster_}, std::byte{0x24});
  expect_all({{2 * cluster_}, cluster_}, std::byte{0x24});
}

TEST_P(FormatConformance, DiscardedRoomIsUsedAgain) {
  for (int round = 0; round < 100; ++round) {
    write({{0}, 4 * cluster_}, static_cast<std::byte>(round));
    ASSERT_OK(driver_->discard({{0}, 4 * cluster_}));
    if (round % 4 == 0) {
      ASSERT_OK(driver_->flush());
    }
  }
  ASSERT_OK(driver_->flush());
  EXPECT_LE(must(driver_->storage().size()), 200 * cluster_ + (1U << 20U));
}

TEST_P(FormatConformance, ReopenedImageShowsAllThatWasFlushed) {
  Random random("ReopenedImageShowsAllThatWasFlushed");
  const auto clusters = size_ / cluster_;
  std::vector<std::byte> values(clusters, fresh());
  for (int round = 0; round < 4; ++round) {
    for (std::uint64_t change = 0; change < clusters / 2; ++change) {
      const auto index = random.below(clusters);
      values[index] = static_cast<std::byte>(random.between(1, 100));
      write(cluster(index), values[index]);
    }
    if (round % 2 == 0) {
      ASSERT_OK(driver_->flush());
    }
    reopen(round % 2 == 0);
    for (std::uint64_t index = 0; index < clusters; ++index) expect_all(cluster(index), values[index]);
    if (round % 2 != 0) reopen(true);
    must(driver_->begin_writing());
  }
}

TEST_P(FormatConformance, WritableOpenWithoutAChangeChangesNothing) {
  write(cluster(1), std::byte{1});
  close();
  const auto bytes = [this] {
    std::vector<std::byte> all(must(image_.file->size()));
    must(image_.file->read({0}, all));
    return all;
  };
  const auto before = bytes();
  for (const bool writable : {false, true}) {
    reopen(writable);
    static_cast<void>(read({{0}, size_}));
    close();
    EXPECT_TRUE(bytes() == before) << (writable ? "writable" : "read-only");
  }
}

TEST_P(FormatConformance, GrownPartReadsZeroAndShrunkPartDoesNotComeBack) {
  write({{0}, padded_size()}, std::byte{0x22});
  const auto grown = driver_->resize(2 * padded_size(), GetParam().backing ? size_ : 0);
  if (!grown && grown.error().is(EOPNOTSUPP)) GTEST_SKIP() << "cannot resize";
  ASSERT_OK(grown);
  EXPECT_EQ(driver_->virtual_size(), 2 * padded_size());
  expect_all({{0}, size_}, std::byte{0x22});
  // What lies behind the end of the last cluster is the image's to zero before it grows; whole new clusters are fresh.
  expect_all({{padded_size()}, padded_size()}, fresh());
  const auto half = align_down(size_ / 2, cluster_);
  const auto shrunk = driver_->resize(half, 0);
  if (!shrunk && shrunk.error().is(EOPNOTSUPP)) {
    EXPECT_EQ(driver_->virtual_size(), 2 * padded_size()) << "a refusal changes nothing";
    return;
  }
  ASSERT_OK(shrunk);
  EXPECT_EQ(driver_->virtual_size(), half);
  ASSERT_OK(driver_->resize(size_, 0));
  expect_all({{0}, half}, std::byte{0x22});
  const auto found = read({{half}, size_ - half});
  EXPECT_TRUE(std::ranges::none_of(found, [](std::byte byte) { return byte == std::byte{0x22}; }));
  reopen(false);
  EXPECT_EQ(driver_->virtual_size(), size_);
}

TEST_P(FormatConformance, ThreadsWorkOnClustersOfTheirOwn) {
  constexpr unsigned kThreads = 4;
  const auto clusters = size_ / cluster_;
  std::vector<std::byte> values(clusters, fresh());
  {
    std::vector<std::jthread> threads;
    for (unsigned thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([this, thread, clusters, &values] {
        Random random(thread + 1);
        for (int round = 0; round < 60; ++round) {
          const auto index = random.below(clusters / kThreads) * kThreads + thread;
          switch (random.below(5)) {
            case 0:
              if (const auto done = driver_->publish_zero(cluster(index), Zeroing::may_unmap)) {
                values[index] = *done == cluster_ ? std::byte{0} : values[index];
                if (*done != cluster_) write(cluster(index), values[index]);
              }
              break;
            case 1:
              EXPECT_OK(driver_->discard(cluster(index)));
              values[index] = static_cast<std::byte>(round + 1);
              write(cluster(index), values[index]);
              break;
            case 2:
              if (round % 8 == 0) {
                EXPECT_OK(driver_->flush());
              }
              break;
            default:
              values[index] = static_cast<std::byte>(round + 1);
              write(cluster(index), values[index]);
          }
          expect_all(cluster(index), values[index]);
        }
      });
    }
  }
  for (std::uint64_t index = 0; index < clusters; ++index) expect_all(cluster(index), values[index]);
  reopen(false);
  for (std::uint64_t index = 0; index < clusters; ++index) expect_all(cluster(index), values[index]);
}

INSTANTIATE_TEST_SUITE_P(Every, FormatConformance, testing::ValuesIn(shapes()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace penstock::test
