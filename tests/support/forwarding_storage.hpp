// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/storage.hpp>

namespace penstock::test {

/// Hands every call on: what a test's storage overrides is what it is about.
class ForwardingStorage : public Storage {
 public:
  explicit ForwardingStorage(std::shared_ptr<Storage> inner) : inner_(std::move(inner)) {}

  [[nodiscard]] const std::string& name() const noexcept override { return inner_->name(); }
  [[nodiscard]] bool writable() const noexcept override { return inner_->writable(); }
  [[nodiscard]] Result<> start() override { return inner_->start(); }
  [[nodiscard]] const StorageFacts& facts() const noexcept override { return inner_->facts(); }
  [[nodiscard]] Result<> read(HostOffset offset, std::span<std::byte> out) override {
    return inner_->read(offset, out);
  }
  [[nodiscard]] Result<> write(HostOffset offset, std::span<const std::byte> in) override {
    return inner_->write(offset, in);
  }
  [[nodiscard]] Result<> write_zeroes(HostRange range, Zeroing zeroing) override {
    return inner_->write_zeroes(range, zeroing);
  }
  [[nodiscard]] Result<> discard(HostRange range) override { return inner_->discard(range); }
  [[nodiscard]] Result<> allocate(HostRange range) override { return inner_->allocate(range); }
  [[nodiscard]] Result<> flush() override { return inner_->flush(); }
  [[nodiscard]] Result<std::uint64_t> size() override { return inner_->size(); }
  [[nodiscard]] Result<> truncate(std::uint64_t size) override { return inner_->truncate(size); }
  [[nodiscard]] Result<HostExtent> extent(HostOffset offset) override { return inner_->extent(offset); }
  [[nodiscard]] Result<std::uint64_t> allocated_bytes() override { return inner_->allocated_bytes(); }

 protected:
  [[nodiscard]] Storage& inner() { return *inner_; }

 private:
  std::shared_ptr<Storage> inner_;
};

}  // namespace penstock::test
