// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/header.hpp"

#include "base/endian.hpp"
#include "format/qcow2/create.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"

namespace penstock::qcow2 {
namespace {

using test::must;
using Bytes = std::vector<std::byte>;

Bytes new_image(std::map<std::string, std::string> options = {}, BackingReference backing = {}) {
  CreateRequest request;
  request.size = 1U << 20U;
  request.options = std::move(options);
  request.backing = std::move(backing);
  auto shared = std::make_shared<MemoryStorage>();
  auto data = request.options.contains("data_file") ? std::make_shared<MemoryStorage>() : nullptr;
  must(must(plan_create(request))->write(shared, data));
  Bytes bytes(must(shared->size()));
  must(shared->read({0}, bytes));
  return bytes;
}

Result<Header> read(const Bytes& bytes, HeaderUse use = HeaderUse::read) {
  MemoryStorage storage;
  must(storage.write({0}, bytes));
  return read_header(storage, use);
}

struct Patch {
  const char* what;
  std::size_t at;
  unsigned bytes;
  std::uint64_t value;
  int error;
  HeaderUse use = HeaderUse::write;
};

void put(Bytes& bytes, const Patch& patch) {
  const std::span<std::byte> out(bytes);
  if (patch.bytes == 1) store_be(out, patch.at, static_cast<std::uint8_t>(patch.value));
  if (patch.bytes == 4) store_be(out, patch.at, static_cast<std::uint32_t>(patch.value));
  if (patch.bytes == 8) store_be(out, patch.at, patch.value);
}

TEST(Qcow2Header, NewImageIsAcceptedForEveryUse) {
  const Bytes bytes = new_image();
  for (const auto use : {HeaderUse::read, HeaderUse::write, HeaderUse::check, HeaderUse::info}) {
    EXPECT_OK(read(bytes, use));
  }
}

TEST(Qcow2Header, NonsenseIsRefusedByName) {
  const Patch patches[] = {
      {"magic", 0, 4, 0x514649fa, EINVAL},
      {"version 1", 4, 4, 1, ENOTSUP},
      {"version 4", 4, 4, 4, ENOTSUP},
      {"backing name outside the header cluster", 8, 8, 0x10001, EINVAL},
      {"cluster_bits 8", 20, 4, 8, EINVAL},
      {"cluster_bits 22", 20, 4, 22, EINVAL},
      {"cluster_bits wraps", 20, 4, 0xffffffff, EINVAL},
      {"size 2^62", 24, 8, 1ULL << 62U, EFBIG},
      {"size 2^63", 24, 8, 1ULL << 63U, EFBIG},
      {"size needs a larger L1", 24, 8, 1ULL << 30U, EINVAL},
      {"encrypted with AES", 32, 4, 1, ENOTSUP},
      {"LUKS without its extension", 32, 4, 2, EINVAL},
      {"unknown encryption", 32, 4, 3, ENOTSUP},
      {"l1_size 0", 36, 4, 0, EINVAL},
      {"l1_size too large", 36, 4, (4U << 20U) + 1, EFBIG},
      {"L1 misaligned", 40, 8, 0x30200, EINVAL},
      {"L1 at 2^63", 40, 8, 1ULL << 63U, EINVAL},
      {"L1 behind the end", 40, 8, 0x40000, EUCLEAN},
      {"L1 over the header", 40, 8, 0, EUCLEAN},
      {"refcount table misaligned", 48, 8, 0x10001, EINVAL},
      {"refcount table at 2^63", 48, 8, 1ULL << 63U, EINVAL},
      {"refcount table behind the end", 48, 8, 0x7000000, EUCLEAN},
      {"refcount table over the header", 48, 8, 0, EUCLEAN},
      {"refcount table of 0 clusters", 56, 4, 0, EINVAL},
      {"refcount table too large", 56, 4, 129, EFBIG},
      {"too many snapshots", 60, 4, 65537, EFBIG},
      {"snapshot table misaligned", 64, 8, 8, EINVAL},
      {"unknown incompatible bit", 72, 8, 1U << 5U, ENOTSUP},
      {"corrupt bit", 72, 8, kCorrupt, EACCES},
      {"compression bit without type", 72, 8, kCompressionType, EINVAL},
      {"raw data file without data file", 88, 8, kRawDataFile, EINVAL},
      {"refcount_order 7", 96, 4, 7, EINVAL},
      {"header_length 96", 100, 4, 96, EINVAL},
      {"header_length beyond the cluster", 100, 4, 65544, EINVAL},
      {"compression type without bit", 104, 1, 1, EINVAL},
      {"unknown compression type", 104, 1, 2, ENOTSUP},
      {"extension too long", 116, 4, 65536, EINVAL},
      {"extension length wraps", 116, 4, 0xfffffff9, EINVAL},
  };
  const Bytes good = new_image();
  for (const Patch& patch : patches) {
    Bytes bytes = good;
    put(bytes, patch);
    const auto header = read(bytes, patch.use);
    EXPECT_ERRNO(header, patch.error) << patch.what;
    if (header) continue;
    EXPECT_EQ(header.error().message().find('\n'), std::string::npos) << patch.what;
  }
}

TEST(Qcow2Header, WhatIsNotForWritingMayBeReadOrChecked) {
  const Patch patches[] = {
      {"corrupt", 72, 8, kCorrupt, 0, HeaderUse::read},
      {"corrupt", 72, 8, kCorrupt, 0, HeaderUse::check},
      {"dirty", 72, 8, kDirty, 0, HeaderUse::write},
      {"AES", 32, 4, 1, 0, HeaderUse::info},
      {"no refcount table", 56, 4, 0, 0, HeaderUse::check},
      {"refcount table behind the end", 48, 8, 0x7000000, 0, HeaderUse::check},
      {"unknown compatible bits", 80, 8, 0xff00, 0, HeaderUse::write},
      {"unknown autoclear bits", 88, 8, 0xff00, 0, HeaderUse::write},
      {"odd header length", 100, 4, 105, 0, HeaderUse::write},
      {"size that is no multiple of 512", 24, 8, 1000, 0, HeaderUse::write},
  };
  for (const Patch& patch : patches) {
    Bytes bytes = new_image({{"cluster_size", "4k"}});
    // Clusters so small have no feature names, so that nothing follows a shorter header.
    put(bytes, patch);
    EXPECT_OK(read(bytes, patch.use)) << patch.what;
  }
}

TEST(Qcow2Header, TooShortFileIsRefused) {
  for (const std::size_t length : {0U, 3U, 50U, 103U}) {
    Bytes bytes = new_image();
    bytes.resize(length);
    EXPECT_ERRNO(read(bytes), EINVAL) << length;
  }
}

TEST(Qcow2Header, UnknownFeatureIsNamedByTheImageItself) {
  Bytes bytes = new_image();
  const std::span<std::byte> out(bytes);
  store_be(out, 72, std::uint64_t{1} << 3U | std::uint64_t{1} << 40U);
  store_be(out, 104, std::uint8_t{1});
  // The second name of the table becomes that of bit 40.
  store_be(out, 120 + 48 + 1, std::uint8_t{40});
  out[120 + 48 + 2 + 4] = std::byte{0x1b};
  const auto header = read(bytes);
  EXPECT_ERRNO(header, ENOTSUP);
  ASSERT_FALSE(header.has_value());
  EXPECT_NE(header.error().message().find("'corr\\x1bpt bit'"), std::string::npos) << header.error().message();
}

TEST(Qcow2Header, BackingNameMustFitTheCluster) {
  const Bytes good = new_image({}, {"base.img", "raw"});
  EXPECT_EQ(must(read(good)).backing_name, "base.img");
  EXPECT_EQ(must(read(good)).backing_format(), "raw");
  for (const std::uint32_t length : {1024U, 0xffffffffU}) {
    Bytes bytes = good;
    store_be(std::span<std::byte>(bytes), 16, length);
    EXPECT_ERRNO(read(bytes), EINVAL) << length;
  }
  Bytes bytes = good;
  store_be(std::span<std::byte>(bytes), 8, std::uint64_t{65530});
  EXPECT_ERRNO(read(bytes), EINVAL);
}

TEST(Qcow2Header, RewriteChangesNothing) {
  const std::map<std::string, std::string> kinds[] = {{},
                                                      {{"compat", "0.10"}},
                                                      {{"compression_type", "zstd"}},
                                                      {{"extended_l2", "on"}, {"lazy_refcounts", "on"}},
                                                      {{"cluster_size", "512"}, {"refcount_bits", "1"}},
                                                      {{"data_file", "d.raw"}, {"data_file_raw", "on"}}};
  for (const auto& options : kinds) {
    for (const auto& backing : {BackingReference{}, BackingReference{"b", "qcow2"}}) {
      if (options.contains("data_file") && !backing.name.empty()) continue;
      const Bytes bytes = new_image(options, backing);
      const Bytes again = must(encode_header(must(read(bytes))));
      EXPECT_TRUE(std::equal(again.begin(), again.end(), bytes.begin()));
    }
  }
}

TEST(Qcow2Header, UnknownFieldsAndExtensionsSurviveARewrite) {
  Header header = must(read(new_image({}, {"base", "raw"})));
  header.header_length = 120;
  header.unknown_fields.resize(15);
  header.unknown_fields[3] = std::byte{0xaa};
  header.unknown_fields[14] = std::byte{0xbb};
  header.extensions.insert(header.extensions.begin(), {0x12345678, Bytes(5, std::byte{7})});
  Bytes bytes = new_image();
  const Bytes encoded = must(encode_header(header));
  std::ranges::copy(encoded, bytes.begin());
  const Header again = must(read(bytes));
  EXPECT_EQ(again.unknown_fields, header.unknown_fields);
  ASSERT_EQ(again.extensions.size(), header.extensions.size());
  EXPECT_EQ(again.extensions.front().type, 0x12345678U);
  EXPECT_EQ(again.extensions.front().data, Bytes(5, std::byte{7}));
  EXPECT_EQ(must(encode_header(again)), encoded);
}

TEST(Qcow2Header, WhatDoesNotFitIsNoSpace) {
  Header header = must(read(new_image({{"cluster_size", "512"}})));
  header.backing_name = std::string(500, 'b');
  EXPECT_ERRNO(encode_header(header), ENOSPC);
}

TEST(Qcow2Header, KnownExtensionGivenTwiceIsRefused) {
  Header header = must(read(new_image({}, {"base", "raw"})));
  header.extensions.push_back(header.extensions.front());
  Bytes bytes = new_image();
  std::ranges::copy(must(encode_header(header)), bytes.begin());
  EXPECT_ERRNO(read(bytes), EINVAL);
}

TEST(Qcow2Header, SwitchesAreOneWriteOfTheirFieldsOnly) {
  const Bytes before = new_image();
  MemoryStorage storage;
  must(storage.write({0}, before));
  must(write_l1_switch(storage, 5, {0x50000}));
  must(write_refcount_table_switch(storage, {0x10000}, 1));
  must(write_header_field(storage, kIncompatibleField, kDirty));
  Bytes after(before.size());
  must(storage.read({0}, after));
  const auto bytes = std::span<const std::byte>(after);
  EXPECT_EQ(load_be<std::uint32_t>(bytes, 36), 5U);
  EXPECT_EQ(load_be<std::uint64_t>(bytes, 40), 0x50000U);
  EXPECT_EQ(load_be<std::uint64_t>(bytes, 72), 1U);
  for (std::size_t at = 0; at < 120; ++at) {
    if ((at >= 36 && at < 48) || at == 79) continue;
    EXPECT_EQ(after[at], before[at]) << at;
  }
}

}  // namespace
}  // namespace penstock::qcow2
