// SPDX-License-Identifier: Apache-2.0
#include <penstock/error.hpp>
#include <penstock/range.hpp>

#include <gtest/gtest.h>

namespace penstock {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return fail(EINVAL, "odd");
  return value / 2;
}

Result<int> quarter(int value) {
  return TRY(half(TRY(half(value))));
}

TEST(Error, TryGivesTheValueOrLeavesWithTheError) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).error().message(), "odd");
}

TEST(Error, EachLayerPutsItsNameInFront) {
  const Error error = Error(ENOENT, "No such file or directory").in("backing file 'base.img'").in("disk.qcow2");
  EXPECT_EQ(error.message(), "disk.qcow2: backing file 'base.img': No such file or directory");
  EXPECT_TRUE(error.is(ENOENT));
}

TEST(Error, SystemFailureSpellsTheErrnoOut) {
  EXPECT_EQ(system_failure("write", ENOSPC).error().message(), "write: No space left on device");
}

TEST(Range, FitsDoesNotOverflow) {
  EXPECT_TRUE(fits(10, 5, 15));
  EXPECT_FALSE(fits(10, 6, 15));
  EXPECT_FALSE(fits(10, ~0ULL, 15));
  EXPECT_FALSE(fits(16, 0, 15));
}

TEST(Range, WidenAndNarrowGoByWholeUnits) {
  const GuestRange range{{100}, 1000};
  EXPECT_EQ(widen(range, 512), (GuestRange{{0}, 1536}));
  EXPECT_EQ(narrow(range, 512), (GuestRange{{512}, 512}));
  EXPECT_TRUE(narrow(GuestRange{{100}, 500}, 512).empty());
}

TEST(Range, IntersectionOfDistantRangesIsEmpty) {
  EXPECT_TRUE((GuestRange{{0}, 10}).intersection({{20}, 5}).empty());
  EXPECT_EQ((GuestRange{{0}, 10}).intersection({{5}, 50}), (GuestRange{{5}, 5}));
}

}  // namespace
}  // namespace penstock
