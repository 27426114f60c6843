// SPDX-License-Identifier: Apache-2.0
#include "tests/support/expect.hpp"

#include <penstock/format.hpp>

namespace penstock::test {
namespace {

TEST(FormatRegistry, RawIsFirstAndEveryFormatIsFoundByItsName) {
  ASSERT_FALSE(formats().empty());
  EXPECT_EQ(formats().front()->name, "raw");
  for (const Format* format : formats()) EXPECT_EQ(must(find_format(format->name)), format);
}

TEST(FormatRegistry, UnknownFormatIsRefusedWithTheListOfThoseThereAre) {
  const auto found = find_format("vmdk");
  EXPECT_TRUE(failed_with(found, EINVAL));
  std::string names;
  for (const Format* format : formats()) names.append(names.empty() ? "" : ", ").append(format->name);
  EXPECT_EQ(found.error().message(), "unknown format 'vmdk' (there are: " + names + ")");
}

}  // namespace
}  // namespace penstock::test
