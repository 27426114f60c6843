// SPDX-License-Identifier: Apache-2.0
#include <penstock/copy_amounts.hpp>
#include <penstock/provisioner.hpp>

#include "tests/support/expect.hpp"
#include "tests/support/layered.hpp"

namespace penstock {
namespace {

using test::Below;
using test::Layered;
using test::must;
using test::Random;

constexpr std::uint64_t kSize = (4ULL << 20U) + 512 * 7;
constexpr const Layer* kAll = nullptr;

class CopyAmountsOf : public testing::TestWithParam<test::Shape> {};

TEST_P(CopyAmountsOf, AnyImageIsWhatAJobCopies) {
  for (const auto below : {Below::raw, Below::shorter, Below::longer, Below::chain}) {
    Random random("CopyAmounts." + GetParam().name);
    auto layered = Layered::create(GetParam(), below, kSize, random);
    if (!layered) continue;
    SCOPED_TRACE(layered->name);
    const auto image = layered->open(true);
    // Half of it is there already.
    const auto half = align_down(kSize / 2, image->geometry().cluster_size);
    ASSERT_OK(image->populate({{0}, half}, kAll));
    const auto before = must(count_amounts(*image, kAll, {half}));
    const auto estimated = must(count_amounts(*image, kAll, {half}, std::chrono::milliseconds(0)));
    EXPECT_TRUE(estimated.estimated);
    EXPECT_GE(estimated.to_copy, before.to_copy / 2);
    EXPECT_LE(estimated.to_copy, kSize - half);
    const auto background = make_background_executor(1);
    Provisioner job(*image, *background, system_clock(), {});
    job.start();
    ASSERT_OK(job.wait());
    const auto populated = job.progress().populated;
    // What is called data may turn out to be zeroes.
    EXPECT_LE(populated.copied, before.to_copy);
    EXPECT_GE(populated.copied + populated.zeroed + populated.left, before.to_copy);
    const auto after = must(count_amounts(*image, kAll, {0}));
    EXPECT_EQ(after.to_copy, 0U);
    EXPECT_EQ(percent_of(after), 100U);
  }
}

std::vector<test::Shape> shapes_with_backing() {
  std::vector<test::Shape> out;
  for (const auto& shape : test::shapes()) {
    if (shape.backing) out.push_back(shape);
  }
  return out;
}
INSTANTIATE_TEST_SUITE_P(Shapes, CopyAmountsOf, testing::ValuesIn(shapes_with_backing()),
                         [](const auto& shape) { return shape.param.name; });

TEST(CopyAmounts, LeavesOutWhatStaysBelow) {
  Random random("CopyAmounts.Base");
  const auto layered = Layered::create({.name = "qcow2", .backing = true}, Below::chain, kSize, random);
  const auto image = layered->open(true);
  const auto layers = must(image->layers());
  EXPECT_EQ(must(count_amounts(*image, layers[1].layer.get(), {0})).to_copy, 0U);
  const auto above_last = must(count_amounts(*image, layers.back().layer.get(), {0})).to_copy;
  EXPECT_LT(above_last, must(count_amounts(*image, kAll, {0})).to_copy);
}

TEST(PercentOf, IsHundredOnlyWhenNothingIsLeft) {
  EXPECT_EQ(percent_of({}), 100U);
  EXPECT_EQ(percent_of({.data = 1, .to_copy = 1}), 50U);
  EXPECT_EQ(percent_of({.data = UINT64_MAX, .to_copy = 1}), 99U);
  EXPECT_EQ(percent_of({.to_copy = UINT64_MAX}), 0U);
}

}  // namespace
}  // namespace penstock
