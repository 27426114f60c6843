// SPDX-License-Identifier: Apache-2.0
// The streaming job against a model, with a guest beside it, and what it does about errors.
#include <penstock/provisioner.hpp>

#include "image/layer.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/forwarding_storage.hpp"
#include "tests/support/layered.hpp"
#include "tests/support/manual_clock.hpp"

#include <atomic>
#include <thread>

namespace penstock {
namespace {

using std::chrono::milliseconds;
using test::Below;
using test::Layered;
using test::ManualClock;
using test::must;
using test::Random;
using test::Shape;

constexpr std::uint64_t kSize = (1ULL << 20U) + 512 * 7;

void expect_contents(Image& image, const test::ModelDisk& model) {
  std::vector<std::byte> shown(model.size());
  ASSERT_OK(image.read({0}, shown));
  ASSERT_EQ(model.difference({0}, shown), "");
}

/// The top by itself, as it is when the files below are gone.
void expect_stands_alone(const Layered& layered) {
  ASSERT_EQ(must(layered.top.open(false))->backing().name, "");
  const auto image = make_image(must(layered.top.open(false)), "top", false);
  ASSERT_NO_FATAL_FAILURE(expect_contents(*image, layered.model));
  const auto report = layered.top.check();
  if (!report && report.error().is(EOPNOTSUPP)) return;
  ASSERT_OK(report);
  EXPECT_EQ(report->corruptions, 0U);
  EXPECT_EQ(report->leaks, 0U);
}

void write_at_random(Image& image, test::ModelDisk& model, Random& random) {
  const auto at = random.below(model.size());
  std::vector<std::byte> bytes(1 + random.below(std::min<std::uint64_t>(model.size() - at, 20000)));
  if (random.chance(70)) random.fill(bytes);
  if (random.chance(15)) {
    ASSERT_OK(image.write_zeroes({{at}, bytes.size()}, Zeroing::may_unmap));
    std::ranges::fill(bytes, std::byte{});
  } else {
    ASSERT_OK(image.write({at}, bytes));
  }
  model.write({at}, bytes);
}

class Streaming : public testing::TestWithParam<Shape> {};

TEST_P(Streaming, EndsWithAnImageThatStandsAloneWhateverTheGuestDoes) {
  for (const auto below : {Below::raw, Below::shorter, Below::longer, Below::chain, Below::compressed}) {
    Random random("Streaming." + GetParam().name);
    auto layered = Layered::create(GetParam(), below, kSize, random);
    if (!layered) continue;
    SCOPED_TRACE(layered->name);
    const auto image = layered->open(true);
    const auto background = make_background_executor(3);
    image->set_copy_on_read(random.chance(50));
    Provisioner job(*image, *background, system_clock(), {.flush_interval = milliseconds(1)});
    job.start();
    while (job.progress().state == ProvisionState::running) {
      ASSERT_NO_FATAL_FAILURE(write_at_random(*image, layered->model, random));
      if (random.chance(10)) {
        job.pause();
        job.resume();
      }
    }
    ASSERT_OK(job.wait());
    EXPECT_EQ(job.progress().offset, kSize);
    for (int i = 0; i < 50; ++i) ASSERT_NO_FATAL_FAILURE(write_at_random(*image, layered->model, random));
    ASSERT_NO_FATAL_FAILURE(expect_contents(*image, layered->model));
    ASSERT_OK(image->close());
    ASSERT_NO_FATAL_FAILURE(expect_stands_alone(*layered));
  }
}

TEST_P(Streaming, GoesOnAfterACancelWithoutReadingAgain) {
  Random random("Streaming.Cancel." + GetParam().name);
  auto layered = Layered::create(GetParam(), Below::raw, kSize, random);
  const auto background = make_background_executor(2);
  std::uint64_t copied = 0;
  for (int life = 0; life < 30; ++life) {
    const auto image = layered->open(true);
    Provisioner job(*image, *background, system_clock(), {});
    job.start();
    if (life < 29) std::this_thread::sleep_for(std::chrono::microseconds(random.below(400)));
    if (life < 29) job.cancel();
    const auto ended = job.wait();
    copied += job.progress().populated.copied;
    if (ended) break;
    ASSERT_TRUE(ended.error().is(ECANCELED)) << ended.error().message();
  }
  EXPECT_LE(copied, kSize);
  ASSERT_NO_FATAL_FAILURE(expect_stands_alone(*layered));
}

std::vector<Shape> shapes_with_backing() {
  std::vector<Shape> out;
  for (const auto& shape : test::shapes()) {
    if (shape.backing) out.push_back(shape);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Streaming, testing::ValuesIn(shapes_with_backing()),
                         [](const auto& shape) { return shape.param.name; });

/// Fails reads or writes while told so.
class FailingStorage final : public test::ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;
  Result<> read(HostOffset offset, std::span<std::byte> out) override {
    if (const int number = read_error) return fail(number, "it failed");
    return inner().read(offset, out);
  }
  Result<> write(HostOffset offset, std::span<const std::byte> in) override {
    if (const int number = write_error) return fail(number, "it failed");
    return inner().write(offset, in);
  }
  Result<> flush() override {
    std::this_thread::sleep_for(flush_takes.load());
    return inner().flush();
  }
  std::atomic<milliseconds> flush_takes{milliseconds::zero()};
  std::atomic<int> read_error{0};
  std::atomic<int> write_error{0};
};

class StreamingErrors : public testing::Test {
 protected:
  void SetUp() override {
    layered_ = Layered::create({.name = "v3", .options = {{"cluster_size", "4096"}}, .backing = true}, Below::raw,
                               kSize, random_);
    top_ = std::make_shared<FailingStorage>(layered_->top.file);
    base_ = std::make_shared<FailingStorage>(layered_->below.front().file);
    layered_->top.file = top_;
    layered_->below.front().file = base_;
    image_ = layered_->open(true);
  }
  Provisioner& start(ProvisionOptions options) {
    job_ = std::make_unique<Provisioner>(*image_, *background_, clock_, options);
    job_->start();
    return *job_;
  }
  static void wait_for(const Provisioner& job, ProvisionState state) {
    while (job.progress().state != state) std::this_thread::yield();
  }
  void expect_done(Provisioner& job) {
    ASSERT_OK(job.wait());
    ASSERT_OK(image_->close());
    ASSERT_NO_FATAL_FAILURE(expect_stands_alone(*layered_));
  }

  Random random_{"StreamingErrors"};
  std::optional<Layered> layered_;
  std::shared_ptr<FailingStorage> top_;
  std::shared_ptr<FailingStorage> base_;
  std::unique_ptr<Image> image_;
  std::unique_ptr<Executor> background_ = make_background_executor(2);
  ManualClock clock_;
  std::unique_ptr<Provisioner> job_;
};

TEST_F(StreamingErrors, ReportEndsTheJobAndKeepsTheBackingFile) {
  base_->read_error = EIO;
  auto& job = start({.on_error = OnError::report});
  const auto ended = job.wait();
  ASSERT_FALSE(ended);
  EXPECT_TRUE(ended.error().is(EIO));
  EXPECT_EQ(job.progress().state, ProvisionState::failed);
  ASSERT_OK(image_->close());
  EXPECT_EQ(must(layered_->top.open(false))->backing().name, "base");
}

TEST_F(StreamingErrors, RetryGoesOnWhenTheErrorHasPassed) {
  base_->read_error = EIO;
  auto& job = start({.on_error = OnError::retry});
  while (job.progress().errors < 5) std::this_thread::yield();
  EXPECT_TRUE(job.progress().error.has_value());
  base_->read_error = 0;
  expect_done(job);
}

TEST_F(StreamingErrors, StopPausesUntilResumed) {
  base_->read_error = EIO;
  auto& job = start({.on_error = OnError::stop});
  wait_for(job, ProvisionState::paused);
  EXPECT_TRUE(job.progress().error.has_value());
  base_->read_error = 0;
  job.resume();
  expect_done(job);
}

TEST_F(StreamingErrors, AFullDiskIsWaitedForWhateverThePolicy) {
  top_->write_error = ENOSPC;
  auto& job = start({.on_error = OnError::report});
  // Of one look: the next try comes at once, since this clock does not wait.
  auto seen = job.progress();
  while (seen.state != ProvisionState::waiting) seen = job.progress();
  EXPECT_TRUE(seen.no_space);
  while (job.progress().errors < 3) std::this_thread::yield();
  top_->write_error = 0;
  expect_done(job);
}

TEST_F(StreamingErrors, CancelEndsAWaitAndAPause) {
  base_->read_error = EIO;
  auto& job = start({.on_error = OnError::stop});
  wait_for(job, ProvisionState::paused);
  job.cancel();
  const auto ended = job.wait();
  ASSERT_FALSE(ended);
  EXPECT_TRUE(ended.error().is(ECANCELED));
}

// Its own flushes are no guest requests: a job that gave way to them would stand still while the disk is slow.
TEST_F(StreamingErrors, TheRateIsKeptThoughFlushesTakeLong) {
  top_->flush_takes = milliseconds(20);
  const auto began = clock_.now();
  auto& job = start({.bytes_per_second = 100'000});
  ASSERT_OK(job.wait());
  const auto seconds = std::chrono::duration<double>(clock_.now() - began).count();
  const auto copied = static_cast<double>(job.progress().populated.copied);
  EXPECT_NEAR(copied / seconds, 100'000, 10'000);
}

}  // namespace
}  // namespace penstock
