// SPDX-License-Identifier: Apache-2.0
#include "control/left_to_copy.hpp"

#include "tests/support/expect.hpp"
#include "tests/support/layered.hpp"

namespace penstock::control {
namespace {

using test::Below;
using test::Layered;
using test::must;
using test::Random;

constexpr std::uint64_t kSize = 4ULL << 20U;
constexpr const Layer* kAll = nullptr;

/// A millisecond passes with each look.
class TickingClock final : public Clock {
 public:
  [[nodiscard]] Time now() const override { return Time(std::chrono::milliseconds(++now_)); }
  void sleep_for(std::chrono::nanoseconds) override {}

 private:
  mutable int now_ = 0;
};

TEST(LeftToCopy, IsCountedAgainOnlyNowAndThen) {
  Random random("LeftToCopy.Again");
  const auto layered = Layered::create({.name = "qcow2", .backing = true}, Below::raw, kSize, random);
  const auto image = layered->open(true);
  TickingClock clock;
  LeftToCopy left(*image, {}, clock);
  const auto first = must(left.after({}));
  ASSERT_GT(first.to_copy, 65536U);
  ASSERT_OK(image->populate({{0}, kSize}, kAll));
  const auto second = must(left.after({.populated = {.copied = 4096}}));
  EXPECT_EQ(second.to_copy, first.to_copy - 4096);
  EXPECT_EQ(second.data, first.data + 4096);
  EXPECT_EQ(must(left.after({.populated = {.copied = UINT64_MAX}})).to_copy, 0U) << "never below nothing";
  for (int look = 0; look < 20; ++look) static_cast<void>(clock.now());
  EXPECT_EQ(must(left.after({.populated = {.copied = 8192}})).to_copy, 0U);
}

}  // namespace
}  // namespace penstock::control
