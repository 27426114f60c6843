// SPDX-License-Identifier: Apache-2.0
#include <penstock/convert.hpp>

#include "image/layer.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/layered.hpp"
#include "tests/support/random.hpp"
#include "tests/support/shape.hpp"

namespace penstock {
namespace {

using test::must;

constexpr std::uint64_t kSize = (5U << 20U) + 3 * 512;

std::unique_ptr<Image> image_of(const test::ShapedImage& made, bool writable) {
  return make_image(must(made.open(writable)), made.shape.name, writable);
}

std::vector<std::byte> contents(Image& image) {
  std::vector<std::byte> bytes(image.virtual_size());
  must(image.read({0}, bytes));
  return bytes;
}

class Convert : public testing::TestWithParam<test::Shape> {
 protected:
  void SetUp() override {
    test::Random random("Convert");
    expected_ = test::disk_contents(kSize, random);
    source_ = image_of(test::ShapedImage::create({.name = "source", .format = "raw"}, kSize), true);
    must(source_->write({0}, expected_));
  }
  std::vector<std::byte> expected_;
  std::unique_ptr<Image> source_;
  std::unique_ptr<Executor> executor_ = make_request_executor(3);
};

TEST_P(Convert, ShowsTheSameDisk) {
  for (const bool compressed : {false, true}) {
    for (const std::uint64_t sparse : {std::uint64_t{0}, std::uint64_t{512}, std::uint64_t{65536}}) {
      const auto made = test::ShapedImage::create(GetParam(), kSize);
      const auto target = image_of(made, true);
      std::uint64_t seen = 0;
      std::uint64_t whole = 0;
      ConvertOptions options{.compressed = compressed, .sparse_bytes = sparse};
      options.copy.progress = [&](std::uint64_t done, std::uint64_t total) {
        EXPECT_GE(done, seen);
        seen = done;
        whole = total;
      };
      ASSERT_OK(convert_image(*source_, *target, *executor_, options));
      EXPECT_EQ(seen, kSize);
      EXPECT_EQ(whole, kSize);
      EXPECT_EQ(contents(*target), expected_);
      must(target->close());
      const auto report = made.check();
      EXPECT_TRUE(!report || (report->corruptions == 0 && report->leaks == 0));
    }
  }
}

TEST_P(Convert, OverwritesWhatIsThere) {
  const auto target = image_of(test::ShapedImage::create(GetParam(), kSize), true);
  must(target->write({0}, std::vector<std::byte>(kSize, std::byte{0x11})));
  ASSERT_OK(convert_image(*source_, *target, *executor_, {.fresh = false}));
  EXPECT_EQ(contents(*target), expected_);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Convert, testing::ValuesIn([] {
                           std::vector<test::Shape> alone;
                           for (const auto& shape : test::shapes()) {
                             if (!shape.backing) alone.push_back(shape);
                           }
                           return alone;
                         }()),
                         [](const auto& test) { return test.param.name; });

using ConvertStops = Convert;

TEST_P(ConvertStops, WhenAsked) {
  const auto target = image_of(test::ShapedImage::create(GetParam(), kSize), true);
  std::stop_source stop;
  ConvertOptions options;
  options.copy.stop = stop.get_token();
  options.copy.progress = [&](std::uint64_t done, std::uint64_t) {
    if (done != 0) stop.request_stop();
  };
  EXPECT_ERRNO(convert_image(*source_, *target, *executor_, options), ECANCELED);
}

TEST_P(ConvertStops, BeforeTheFirstByteWhenTheTargetIsShorter) {
  const auto target = image_of(test::ShapedImage::create(GetParam(), kSize / 2 / 512 * 512), true);
  EXPECT_ERRNO(convert_image(*source_, *target, *executor_, {}), EINVAL);
  EXPECT_EQ(must(target->extent({{0}, target->virtual_size()})).present, false);
}

INSTANTIATE_TEST_SUITE_P(Shapes, ConvertStops, testing::Values(test::Shape{.name = "qcow2"}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace penstock
