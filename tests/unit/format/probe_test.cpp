// SPDX-License-Identifier: Apache-2.0
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/faulty_storage.hpp"

#include <penstock/format.hpp>

namespace penstock::test {
namespace {

std::string_view probed(std::span<const unsigned char> head) {
  MemoryStorage storage;
  EXPECT_OK(storage.write({0}, std::as_bytes(head)));
  return must(probe_format(storage))->name;
}

TEST(Probe, GoesByMagicAndElseSaysRaw) {
  constexpr std::array<unsigned char, 8> kQcow2{'Q', 'F', 'I', 0xfb, 0, 0, 0, 3};
  constexpr std::array<unsigned char, 8> kOther{'Q', 'F', 'I', 0xfc, 0, 0, 0, 3};
  EXPECT_EQ(probed(kQcow2), "qcow2");
  EXPECT_EQ(probed(kOther), "raw");
  EXPECT_EQ(probed(std::span(kQcow2).first(3)), "raw");
  EXPECT_EQ(probed({}), "raw");
}

TEST(Probe, ReadErrorIsNotTakenForRaw) {
  const auto memory = std::make_shared<MemoryStorage>();
  ASSERT_OK(memory->truncate(1000));
  FaultyStorage storage(memory);
  storage.arm({.kinds = FaultyStorage::reads});
  EXPECT_ERRNO(probe_format(storage), EIO);
}

}  // namespace
}  // namespace penstock::test
