// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/support/forwarding_storage.hpp"

#include <mutex>

namespace penstock::test {

/// Fails chosen calls. A failed flush stays failed, as the seam says.
/// Threads: any call beside any other.
class FaultyStorage final : public ForwardingStorage {
 public:
  enum Kind : unsigned {
    reads = 1U << 0U,
    writes = 1U << 1U,
    zeroes = 1U << 2U,
    discards = 1U << 3U,
    allocates = 1U << 4U,
    flushes = 1U << 5U,
    truncates = 1U << 6U,
    sizes = 1U << 7U,
    extents = 1U << 8U,
    changes = writes | zeroes | discards | allocates | flushes | truncates,
    everything = ~0U,
  };
  /// How much of a write that fails is done all the same.
  enum class Effect : std::uint8_t { none, half, whole };
  struct Fault {
    unsigned kinds = everything;  ///< of Kind
    std::uint64_t after = 0;      ///< so many calls of these kinds go well first
    int number = EIO;             ///< errno
    bool for_ever = false;        ///< false: one call fails, later ones go well
    Effect effect = Effect::none;
  };

  explicit FaultyStorage(std::shared_ptr<Storage> inner) : ForwardingStorage(std::move(inner)) {}

  /// Counts from now on.
  void arm(const Fault& fault);
  void disarm() { arm({.kinds = 0}); }
  /// Calls of the armed kinds since arm().
  [[nodiscard]] std::uint64_t calls() const;
  [[nodiscard]] bool fired() const;
  /// Whether a flush has failed, as all later ones do.
  [[nodiscard]] bool flush_failed() const;
  /// Calls that failed, ever.
  [[nodiscard]] std::uint64_t failures() const;

  [[nodiscard]] Result<> read(HostOffset offset, std::span<std::byte> out) override;
  [[nodiscard]] Result<> write(HostOffset offset, std::span<const std::byte> in) override;
  [[nodiscard]] Result<> write_zeroes(HostRange range, Zeroing zeroing) override;
  [[nodiscard]] Result<> discard(HostRange range) override;
  [[nodiscard]] Result<> allocate(HostRange range) override;
  [[nodiscard]] Result<> flush() override;
  [[nodiscard]] Result<std::uint64_t> size() override;
  [[nodiscard]] Result<> truncate(std::uint64_t size) override;
  [[nodiscard]] Result<HostExtent> extent(HostOffset offset) override;

 private:
  [[nodiscard]] Result<> pass(Kind kind);
  [[nodiscard]] std::uint64_t part_done(HostRange write) const;

  mutable std::mutex mutex_;
  Fault fault_{.kinds = 0};
  std::uint64_t calls_ = 0;
  std::uint64_t failures_ = 0;
  bool fired_ = false;
  bool flush_failed_ = false;
};

}  // namespace penstock::test
