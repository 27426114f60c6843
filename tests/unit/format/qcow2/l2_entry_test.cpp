// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/l2_entry.hpp"

#include <gtest/gtest.h>

#include <array>

namespace penstock::qcow2 {
namespace {

Header make_header(std::uint32_t version, std::uint32_t cluster_bits, std::uint64_t incompatible = 0) {
  Header header;
  header.version = version;
  header.cluster_bits = cluster_bits;
  header.incompatible = incompatible;
  return header;
}

struct KindCase {
  std::uint64_t descriptor;
  ClusterKind kind;
  bool usable;
};

TEST(L2Entry, EveryFlagCombinationOfVersion3) {
  const Header header = make_header(3, 16);
  const KindCase cases[] = {
      {0, ClusterKind::unallocated, true},
      {kZeroFlag, ClusterKind::zero_plain, true},
      {0x50000 | kZeroFlag, ClusterKind::zero_allocated, true},
      {0x50000 | kZeroFlag | kCopied, ClusterKind::zero_allocated, true},
      {0x50000, ClusterKind::normal, true},
      {0x50000 | kCopied, ClusterKind::normal, true},
      {0x50200 | kCopied, ClusterKind::normal, false},
      {0x50200 | kZeroFlag, ClusterKind::zero_allocated, false},
      {kCopied, ClusterKind::unallocated, false},
      {kCopied | kZeroFlag, ClusterKind::zero_plain, true},
      {kCompressed | 0x50001, ClusterKind::compressed, true},  // bit 0 is a part of the offset
      {kCompressed | kCopied | 0x50000, ClusterKind::compressed, true},
  };
  for (const KindCase& one : cases) {
    EXPECT_EQ(cluster_kind(header, {one.descriptor, 0}), one.kind) << std::hex << one.descriptor;
    EXPECT_EQ(entry_problem(header, {one.descriptor, 0}, {0}) == nullptr, one.usable) << std::hex << one.descriptor;
  }
}

TEST(L2Entry, ZeroFlagIsDamageInVersion2ButForCompressedClusters) {
  const Header header = make_header(2, 16);
  EXPECT_NE(entry_problem(header, {0x50000 | kZeroFlag, 0}, {0}), nullptr);
  EXPECT_NE(entry_problem(header, {kZeroFlag, 0}, {0}), nullptr);
  EXPECT_EQ(entry_problem(header, {kCompressed | 0x50001, 0}, {0}), nullptr);
}

TEST(L2Entry, DataFileOffsetsAreGuestOffsetsAndBit63Decides) {
  const Header header = make_header(3, 16, kDataFile);
  EXPECT_EQ(cluster_kind(header, {kCopied, 0}), ClusterKind::normal);
  EXPECT_EQ(cluster_kind(header, {0, 0}), ClusterKind::unallocated);
  EXPECT_EQ(entry_problem(header, {kCopied, 0}, {0}), nullptr);
  EXPECT_NE(entry_problem(header, {kCopied, 0}, {0x10000}), nullptr);
  EXPECT_EQ(entry_problem(header, {kCopied | 0x10000, 0}, {0x10000}), nullptr);
  EXPECT_NE(entry_problem(header, {kCompressed | 0x10000, 0}, {0x10000}), nullptr);
}

TEST(L2Entry, SubclusterPairs) {
  const Header header = make_header(3, 16, kExtendedL2);
  struct Case {
    std::uint64_t descriptor;
    std::uint64_t bitmap;
    bool usable;
  };
  const Case cases[] = {
      {0, 0, true},
      {0, 0xffffffff00000000, true},
      {0, 1, false},
      {0x50000, 0, true},
      {0x50000, 0x00000000ffffffff, true},
      {0x50000, 0x0000000100000001, false},  // one bad pair spoils the entry
      {0x50000, 0xfffffffe00000001, true},
      {kCompressed | 0x50000, 0, true},
      {kCompressed | 0x50000, 1, false},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(entry_problem(header, {one.descriptor, one.bitmap}, {0}) == nullptr, one.usable)
        << std::hex << one.bitmap;
  }
  const L2Entry entry{0x50000 | kCopied, 0x0000000200000001};
  EXPECT_EQ(subcluster_kind(entry, 0), SubclusterKind::data);
  EXPECT_EQ(subcluster_kind(entry, 1), SubclusterKind::zero);
  EXPECT_EQ(subcluster_kind(entry, 2), SubclusterKind::unallocated);
  // Bit 0 means nothing there.
  EXPECT_EQ(cluster_kind(header, {0x50000 | kZeroFlag, 1}), ClusterKind::normal);
  EXPECT_TRUE(has_reserved_bits(header, {0x50000 | kZeroFlag, 1}));
}

TEST(L2Entry, ReservedBits) {
  const Header header = make_header(3, 16);
  for (unsigned bit = 0; bit < 64; ++bit) {
    const bool reserved = (bit >= 1 && bit <= 8) || (bit >= 56 && bit <= 61);
    EXPECT_EQ(has_reserved_bits(header, {0x50000 | 1ULL << bit, 0}), reserved) << bit;
  }
}

TEST(L2Entry, PackedRunsAtEveryClusterSize) {
  for (std::uint32_t bits = 9; bits <= 21; ++bits) {
    const Header header = make_header(3, bits);
    const unsigned field = 70 - bits;
    const std::uint64_t sectors_max = (1ULL << (bits - 8)) - 1;
    const PackedRun one = packed_run(header, kCompressed | 0x12345);
    EXPECT_EQ(one.offset.value, 0x12345U);
    EXPECT_EQ(one.length, 512 - 0x12345 % 512);
    const PackedRun most = packed_run(header, kCompressed | sectors_max << field | 0x12200);
    EXPECT_EQ(most.offset.value, 0x12200U);
    EXPECT_EQ(most.length, (sectors_max + 1) * 512);
    EXPECT_EQ(most.length, 2U << bits);
    const std::uint64_t offset_max = (1ULL << std::min(field, 56U)) - 1;
    EXPECT_EQ(packed_run(header, kCompressed | offset_max).offset.value, offset_max);
    EXPECT_EQ(entry_problem(header, {kCompressed | offset_max, 0}, {0}), nullptr);
    if (field > 56) {
      EXPECT_NE(entry_problem(header, {kCompressed | 1ULL << 56U, 0}, {0}), nullptr);
    }
  }
}

TEST(L2Entry, StoredAsBigEndianWords) {
  std::array<std::byte, 64> table{};
  const Header standard = make_header(3, 16);
  store_entry(standard, table, 2, {0x8000000000050000, 0});
  EXPECT_EQ(table[16], std::byte{0x80});
  EXPECT_EQ(table[21], std::byte{5});
  EXPECT_EQ(load_entry(standard, table, 2), (L2Entry{0x8000000000050000, 0}));
  const Header extended = make_header(3, 16, kExtendedL2);
  store_entry(extended, table, 3, {0x60000, 0x1122334455667788});
  EXPECT_EQ(table[56], std::byte{0x11});
  EXPECT_EQ(load_entry(extended, table, 3), (L2Entry{0x60000, 0x1122334455667788}));
}

}  // namespace
}  // namespace penstock::qcow2
