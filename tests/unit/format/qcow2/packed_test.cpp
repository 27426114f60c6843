// SPDX-License-Identifier: Apache-2.0
// Compressed clusters: many in one host cluster, each with a reference of its own.
#include "format/qcow2/format.hpp"
#include "format/qcow2/qcow2_driver.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/random.hpp"

namespace penstock::qcow2 {
namespace {

using test::must;

constexpr std::uint64_t kSize = 16U << 20U;

class Packed : public testing::TestWithParam<std::map<std::string, std::string>> {
 protected:
  void SetUp() override {
    CreateRequest request;
    request.size = kSize;
    request.options = GetParam();
    must(must(kFormat.plan_create(request))->write(storage_, nullptr));
    driver_ = must(kFormat.open(storage_, {.writable = true}));
    cluster_ = driver_->geometry().cluster_size;
  }
  /// Half noise, half one byte: packs to somewhat more than half, so that clusters share and span.
  [[nodiscard]] std::vector<std::byte> contents(std::uint64_t number) const {
    std::vector<std::byte> bytes(cluster_, std::byte{0x41});
    test::Random random(number);
    random.fill(std::span(bytes).first(cluster_ / 8 * (number % 5)));
    return bytes;
  }
  void put(std::uint64_t number) {
    const auto packed = must(driver_->pack(contents(number)));
    ASSERT_TRUE(packed);
    auto room = must(driver_->reserve_packed({number * cluster_}, static_cast<std::uint32_t>(packed->size())));
    must(room.runs().front().storage->write(room.runs().front().host_offset, *packed));
    must(driver_->publish(std::move(room)));
  }
  void expect(std::uint64_t number) {
    const auto mapping = must(driver_->map({{number * cluster_}, cluster_}));
    ASSERT_EQ(mapping.kind, MappingKind::compressed) << number;
    std::vector<std::byte> packed(mapping.packed_length);
    std::vector<std::byte> bytes(cluster_);
    must(mapping.storage->read(mapping.host_offset, packed));
    must(driver_->unpack(packed, bytes));
    EXPECT_EQ(bytes, contents(number)) << number;
  }
  void expect_clean() {
    must(driver_->close());
    driver_.reset();
    const auto report = must(kFormat.check(storage_, {}, {}));
    EXPECT_EQ(report.corruptions, 0U);
    EXPECT_EQ(report.leaks, 0U);
    driver_ = must(kFormat.open(storage_, {.writable = true}));
  }

  std::shared_ptr<MemoryStorage> storage_ = std::make_shared<MemoryStorage>();
  std::unique_ptr<FormatDriver> driver_;
  std::uint64_t cluster_ = 0;
};

TEST_P(Packed, ClustersShareHostClustersAndReadBack) {
  const std::uint64_t count = std::min<std::uint64_t>(40, kSize / cluster_);
  for (std::uint64_t number = 0; number < count; ++number) put(number);
  for (std::uint64_t number = 0; number < count; ++number) expect(number);
  expect_clean();
  for (std::uint64_t number = 0; number < count; ++number) expect(number);
}

TEST_P(Packed, DroppedRoomIsGivenBack) {
  put(0);
  {
    const auto dropped = must(driver_->reserve_packed({cluster_}, 100));
  }
  put(1);
  {
    const auto dropped = must(driver_->reserve_packed({2 * cluster_}, static_cast<std::uint32_t>(cluster_ - 1)));
  }
  put(3);
  expect(0);
  expect(1);
  expect(3);
  expect_clean();
}

TEST_P(Packed, RoomIsNotSharedWithWhatTookTheClusterOver) {
  put(0);
  must(driver_->discard({{0}, cluster_}));
  must(driver_->flush());  // the host cluster is free, and given to ordinary data next
  auto room = must(driver_->reserve({{4 * cluster_}, cluster_}));
  const std::vector<std::byte> data(cluster_, std::byte{0x99});
  must(room.runs().front().storage->write(room.runs().front().host_offset, data));
  must(driver_->publish(std::move(room)));
  put(1);
  const auto mapping = must(driver_->map({{4 * cluster_}, cluster_}));
  std::vector<std::byte> bytes(cluster_);
  must(mapping.storage->read(mapping.host_offset, bytes));
  EXPECT_EQ(bytes, data);
  expect(1);
  expect_clean();
}

TEST_P(Packed, ClusterThatIsThereIsRefused) {
  put(0);
  EXPECT_ERRNO(driver_->reserve_packed({0}, 100), EINVAL);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Packed,
    testing::Values(std::map<std::string, std::string>{},
                    std::map<std::string, std::string>{{"compression_type", "zstd"}},
                    std::map<std::string, std::string>{{"compat", "0.10"}},
                    std::map<std::string, std::string>{{"refcount_bits", "1"}},
                    std::map<std::string, std::string>{{"refcount_bits", "2"}, {"cluster_size", "4096"}},
                    std::map<std::string, std::string>{{"cluster_size", "2M"}},
                    std::map<std::string, std::string>{{"extended_l2", "on"}},
                    std::map<std::string, std::string>{{"lazy_refcounts", "on"}, {"cluster_size", "1024"}}),
    [](const auto& test) {
      std::string name = "default";
      for (const auto& [key, value] : test.param) name += "_" + key + "_" + value;
      std::erase(name, '.');
      return name;
    });

TEST(PackCluster, NothingWhenItDoesNotGetSmaller) {
  CreateRequest request;
  request.size = kSize;
  auto storage = std::make_shared<MemoryStorage>();
  must(must(kFormat.plan_create(request))->write(storage, nullptr));
  const auto driver = must(kFormat.open(storage, {.writable = true}));
  std::vector<std::byte> noise(65536);
  test::Random random(7);
  random.fill(noise);
  EXPECT_FALSE(must(driver->pack(noise)));
}

}  // namespace
}  // namespace penstock::qcow2
