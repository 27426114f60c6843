// SPDX-License-Identifier: Apache-2.0
/// A format without bytes on disk, that keeps the contract of FormatDriver in the most awkward way it allows.
#pragma once

#include <penstock/format.hpp>

#include "base/mutex.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/random.hpp"

#include <atomic>
#include <map>

namespace penstock::test {

struct FakeOptions {
  std::uint64_t size = 1U << 20U;
  std::uint32_t cluster_size = 4096;
  std::uint32_t unit = 4096;
  bool zero_units = true;  ///< publish_zero is supported
  bool compressed = false;
  bool odd_reservations = false;  ///< wider and shorter than asked, at random
  std::uint64_t seed = 1;
};

/// Threads: any call beside any other.
class FakeDriver final : public FormatDriver {
 public:
  explicit FakeDriver(const FakeOptions& options);

  [[nodiscard]] std::string_view format() const noexcept override { return "fake"; }
  [[nodiscard]] std::uint64_t virtual_size() const noexcept override { return size_; }
  [[nodiscard]] Geometry geometry() const noexcept override { return {options_.cluster_size, options_.unit}; }
  [[nodiscard]] Capabilities capabilities() const noexcept override {
    return {.compressed = options_.compressed, .resize = true};
  }
  [[nodiscard]] BackingReference backing() const override { return {}; }
  [[nodiscard]] Result<FormatInfo> info() override { return FormatInfo{}; }
  [[nodiscard]] Storage& storage() noexcept override { return *storage_; }
  [[nodiscard]] Result<Mapping> map(GuestRange want) override;
  [[nodiscard]] Result<> unpack(std::span<const std::byte> packed, std::span<std::byte> cluster) override;
  [[nodiscard]] Result<> begin_writing() override;
  [[nodiscard]] Result<Reservation> reserve(GuestRange want) override;
  [[nodiscard]] Result<> publish(Reservation filled) override;
  [[nodiscard]] Result<std::uint64_t> publish_zero(GuestRange units, Zeroing zeroing) override;
  [[nodiscard]] Result<> discard(GuestRange range) override;
  [[nodiscard]] Result<> flush() override;
  [[nodiscard]] Result<> resize(std::uint64_t size, std::uint64_t backing_size) override;

  // To build states. Ranges are whole units; compressed: one whole cluster.
  void put_data(GuestRange units, std::span<const std::byte> bytes, bool in_place = true);
  void put_zero(GuestRange units);
  void put_compressed(GuestOffset cluster, std::span<const std::byte> bytes);
  /// map() of anything in `range` fails with EUCLEAN.
  void break_map(GuestRange range);
  [[nodiscard]] MappingKind kind_at(GuestOffset offset);

  std::atomic<unsigned> maps{0};
  std::atomic<unsigned> unpacks{0};
  std::atomic<unsigned> begins{0};
  std::atomic<unsigned> flushes{0};
  std::atomic<unsigned> publishes{0};
  std::atomic<unsigned> unannounced_changes{0};  ///< changes before begin_writing(): must stay 0

 private:
  struct Unit {
    MappingKind kind = MappingKind::unallocated;
    std::uint64_t host_offset = 0;  // of the unit; compressed: of the packed cluster
    bool in_place = false;
  };
  [[nodiscard]] Unit unit_at(std::uint64_t index) const REQUIRES(mutex_);
  [[nodiscard]] std::uint64_t end() const { return align_up(size_, options_.cluster_size); }
  void announce_check() {
    if (begins == 0) ++unannounced_changes;
  }

  const FakeOptions options_;
  const std::shared_ptr<MemoryStorage> storage_ = std::make_shared<MemoryStorage>("fake");
  std::atomic<std::uint64_t> size_;
  Mutex mutex_;
  std::map<std::uint64_t, Unit> units_ GUARDED_BY(mutex_);
  std::uint64_t next_host_ GUARDED_BY(mutex_) = 4096;
  GuestRange broken_ GUARDED_BY(mutex_);
  Random random_ GUARDED_BY(mutex_);
};

}  // namespace penstock::test
