// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/compressed.hpp"

#include "tests/support/expect.hpp"

#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <vector>

namespace penstock::qcow2 {
namespace {

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t at = 0; at < size; ++at) bytes[at] = static_cast<std::byte>(at / 100);
  return bytes;
}

std::vector<std::byte> raw_deflate(const std::vector<std::byte>& plain, int window_bits) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY);
  std::vector<std::byte> packed(deflateBound(&stream, plain.size()));
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(plain.data()));
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::vector<std::byte> zstd_frame(std::span<const std::byte> plain) {
  std::vector<std::byte> packed(ZSTD_compressBound(plain.size()));
  packed.resize(ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), 3));
  return packed;
}

TEST(Compressed, DeflateOfAnyWindowYieldsTheClusterAndIgnoresWhatFollows) {
  const auto plain = pattern(65536);
  for (const int window_bits : {-12, -15}) {
    auto packed = raw_deflate(plain, window_bits);
    packed.resize(packed.size() + 700, std::byte{0xee});
    std::vector<std::byte> cluster(plain.size());
    ASSERT_OK(unpack_cluster(0, packed, cluster));
    EXPECT_EQ(cluster, plain);
  }
}

TEST(Compressed, ZstdFramesMayFollowEachOther) {
  const auto plain = pattern(65536);
  auto packed = zstd_frame(std::span(plain).first(10000));
  const auto second = zstd_frame(std::span(plain).subspan(10000));
  packed.insert(packed.end(), second.begin(), second.end());
  packed.resize(packed.size() + 300);
  std::vector<std::byte> cluster(plain.size());
  ASSERT_OK(unpack_cluster(1, packed, cluster));
  EXPECT_EQ(cluster, plain);
}

TEST(Compressed, ShortOrDamagedDataIsCorrupt) {
  const auto plain = pattern(65536);
  std::vector<std::byte> cluster(plain.size());
  for (const std::uint8_t type : {std::uint8_t{0}, std::uint8_t{1}}) {
    auto packed = type == 0 ? raw_deflate(plain, -12) : zstd_frame(plain);
    EXPECT_ERRNO(unpack_cluster(type, std::span(packed).first(packed.size() / 2), cluster), EUCLEAN);
    EXPECT_ERRNO(unpack_cluster(type, {}, cluster), EUCLEAN);
    std::vector<std::byte> garbage(1000, std::byte{0xa7});
    EXPECT_ERRNO(unpack_cluster(type, garbage, cluster), EUCLEAN);
    EXPECT_ERRNO(unpack_cluster(type, type == 0 ? raw_deflate(pattern(100), -12) : zstd_frame(pattern(100)), cluster),
                 EUCLEAN);
    ASSERT_OK(unpack_cluster(type, packed, cluster)) << "a decoder recovers after an error";
  }
}

TEST(Compressed, AZstdFrameMustEndWithTheCluster) {
  std::vector<std::byte> cluster(4096);
  EXPECT_ERRNO(unpack_cluster(1, zstd_frame(pattern(8192)), cluster), EUCLEAN);
}

}  // namespace
}  // namespace penstock::qcow2
