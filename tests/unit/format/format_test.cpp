// SPDX-License-Identifier: Apache-2.0
#include "format/raw/raw_driver.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"

namespace penstock::test {
namespace {

TEST(FormatDriver, WithoutCompressionUnpacksNothing) {
  const auto driver = must(kRawFormat.open(std::make_shared<MemoryStorage>(), {}));
  EXPECT_ERRNO(driver->unpack({}, {}), EUCLEAN);
}

}  // namespace
}  // namespace penstock::test
