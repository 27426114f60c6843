// SPDX-License-Identifier: Apache-2.0
/// Bytes in memory, for tests and tools that embed the engine. No name reaches it.
#pragma once

#include <penstock/storage.hpp>

#include "base/mutex.hpp"

#include <array>
#include <map>

namespace penstock {

/// Sparse: pages that were never written, or were zeroed whole, take no memory.
/// Threads: any call beside any other. Errors: EFBIG behind facts().size_max.
class MemoryStorage final : public Storage {
 public:
  explicit MemoryStorage(std::string name = "memory");

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] bool writable() const noexcept override { return true; }
  [[nodiscard]] const StorageFacts& facts() const noexcept override { return facts_; }
  [[nodiscard]] Result<> read(HostOffset offset, std::span<std::byte> out) override;
  [[nodiscard]] Result<> write(HostOffset offset, std::span<const std::byte> in) override;
  [[nodiscard]] Result<> write_zeroes(HostRange range, Zeroing zeroing) override;
  [[nodiscard]] Result<> discard(HostRange range) override;
  [[nodiscard]] Result<> allocate(HostRange range) override;
  [[nodiscard]] Result<> flush() override { return {}; }
  [[nodiscard]] Result<std::uint64_t> size() override;
  [[nodiscard]] Result<> truncate(std::uint64_t size) override;
  [[nodiscard]] Result<HostExtent> extent(HostOffset offset) override;
  [[nodiscard]] Result<std::uint64_t> allocated_bytes() override;

  /// An independent storage with the same bytes.
  [[nodiscard]] std::shared_ptr<MemoryStorage> copy(std::string name = "copy");

 private:
  static constexpr std::uint64_t kPage = 4096;
  using Page = std::array<std::byte, kPage>;

  void zero(HostRange range) REQUIRES(mutex_);
  void grow(std::uint64_t end) REQUIRES(mutex_) { size_ = std::max(size_, end); }

  const std::string name_;
  const StorageFacts facts_;
  SharedMutex mutex_;
  std::map<std::uint64_t, Page> pages_ GUARDED_BY(mutex_);  // by page number; bytes at and behind size_ are zero
  std::uint64_t size_ GUARDED_BY(mutex_) = 0;
};

}  // namespace penstock
