// SPDX-License-Identifier: Apache-2.0
/// An add-cow image in use: a bitmap that says which clusters the raw image file has. Source: penstock-formats(5),
/// "add-cow".
///
/// A bit reaches the disk only after the data it speaks of: a bit that outlives its data turns old blocks of the raw
/// file into guest contents.
#pragma once

#include "base/mutex.hpp"
#include "format/add_cow/header.hpp"
#include "format/metadata_lock.hpp"
#include "format/table_cache.hpp"

#include <atomic>

namespace penstock::add_cow {

/// Threads: as FormatDriver says. Locks, outer to inner: flush_mutex_, mutex_.
class Driver final : public FormatDriver {
 public:
  [[nodiscard]] static Result<std::unique_ptr<FormatDriver>> open(std::shared_ptr<Storage> storage,
                                                                  const FormatOpenOptions& options);

  [[nodiscard]] std::string_view format() const noexcept override { return "add-cow"; }
  [[nodiscard]] std::uint64_t virtual_size() const noexcept override { return virtual_size_.load(); }
  [[nodiscard]] Geometry geometry() const noexcept override { return {cluster_size_, cluster_size_}; }
  [[nodiscard]] Capabilities capabilities() const noexcept override;
  [[nodiscard]] BackingReference backing() const override;
  [[nodiscard]] Result<FormatInfo> info() override;
  [[nodiscard]] Storage& storage() noexcept override { return *storage_; }
  [[nodiscard]] std::vector<Storage*> files() override { return {storage_.get(), data_.get()}; }

  [[nodiscard]] Result<Mapping> map(GuestRange want) override;
  [[nodiscard]] Result<Reservation> reserve(GuestRange want) override;
  [[nodiscard]] Result<> publish(Reservation filled) override;
  [[nodiscard]] Result<std::uint64_t> publish_zero(GuestRange units, Zeroing zeroing) override;
  [[nodiscard]] Result<> discard(GuestRange range) override;
  [[nodiscard]] Result<> flush() override;
  [[nodiscard]] Result<> resize(std::uint64_t size, std::uint64_t backing_size) override;
  [[nodiscard]] Result<> change_backing(const BackingReference& backing) override;
  [[nodiscard]] AutoStart auto_start() const override;
  [[nodiscard]] Result<> set_auto_start(AutoStart start) override;

 private:
  Driver(std::shared_ptr<Storage> storage, std::shared_ptr<Storage> data, Header header, std::uint64_t size,
         const FormatOpenOptions& options);

  [[nodiscard]] Result<TableHandle> page_of(std::uint64_t cluster);
  [[nodiscard]] Result<bool> is_set(std::uint64_t cluster) REQUIRES_SHARED(mutex_);
  [[nodiscard]] Result<std::uint64_t> run_end(std::uint64_t cluster, std::uint64_t end, bool present)
      REQUIRES_SHARED(mutex_);
  [[nodiscard]] Result<bool> all_bits_set() REQUIRES_SHARED(mutex_);
  [[nodiscard]] Result<> put_bits(std::uint64_t first, std::uint64_t count, bool value) REQUIRES(mutex_);
  [[nodiscard]] Result<> flush_stages() REQUIRES(flush_mutex_);

  const std::shared_ptr<Storage> storage_;
  const std::shared_ptr<Storage> data_;
  const Header header_;  // as it was at the opening: what change_backing() changes stands below
  const std::uint32_t cluster_size_;
  const bool writable_;
  std::atomic<std::uint64_t> virtual_size_;

  Mutex flush_mutex_;
  std::vector<std::byte> header_to_restore_ GUARDED_BY(flush_mutex_);  // after a change of it that failed
  mutable SharedMutex mutex_;                                          // the bits, and:
  BackingReference backing_ GUARDED_BY(mutex_);
  std::uint64_t compatible_ GUARDED_BY(mutex_);
  std::atomic<bool> all_allocated_;  // written under mutex_
  TableCache pages_;
};

}  // namespace penstock::add_cow
