// SPDX-License-Identifier: Apache-2.0
/// raw: guest offset is host offset. Its length is the virtual size to the byte.
#pragma once

#include <penstock/format.hpp>

#include <atomic>

namespace penstock {

/// Nothing is ever reserved or published: every byte is mapped in place, and the holes of the file are the holes of the
/// disk (ask Storage::extent()).
/// Threads: any call beside any other. Errors: the storage's. Source: qemu-img(1), "raw".
class RawDriver final : public FormatDriver {
 public:
  RawDriver(std::shared_ptr<Storage> storage, std::uint64_t size);

  [[nodiscard]] std::string_view format() const noexcept override { return "raw"; }
  [[nodiscard]] std::uint64_t virtual_size() const noexcept override { return size_; }
  [[nodiscard]] Geometry geometry() const noexcept override { return {block_size_, block_size_}; }
  [[nodiscard]] Capabilities capabilities() const noexcept override {
    return {.sparse_data = true, .resize = true, .always_in_place = true};
  }
  [[nodiscard]] BackingReference backing() const override { return {}; }
  [[nodiscard]] Result<FormatInfo> info() override { return FormatInfo{}; }
  [[nodiscard]] Storage& storage() noexcept override { return *storage_; }
  [[nodiscard]] Result<Mapping> map(GuestRange want) override;
  [[nodiscard]] Result<Reservation> reserve(GuestRange want) override;
  [[nodiscard]] Result<> publish(Reservation filled) override;
  [[nodiscard]] Result<std::uint64_t> publish_zero(GuestRange units, Zeroing zeroing) override;
  [[nodiscard]] Result<> discard(GuestRange range) override;
  [[nodiscard]] Result<> flush() override { return storage_->flush(); }
  [[nodiscard]] Result<> resize(std::uint64_t size, std::uint64_t backing_size) override;

 private:
  const std::shared_ptr<Storage> storage_;
  const std::uint32_t block_size_;
  std::atomic<std::uint64_t> size_;
};

/// Options: preallocation (off, falloc, full), nocow, size. Errors: EINVAL.
[[nodiscard]] Result<std::unique_ptr<CreatePlan>> plan_raw(const CreateRequest& request);
/// What plan_raw() knows.
[[nodiscard]] std::span<const CreateOption> raw_create_options();

extern const Format kRawFormat;

}  // namespace penstock
