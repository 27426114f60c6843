// SPDX-License-Identifier: Apache-2.0
#include "image/slice_storage.hpp"

#include "base/text.hpp"

#include <cstring>

namespace penstock {

namespace {

class SliceStorage final : public Storage {
 public:
  SliceStorage(std::shared_ptr<Storage> storage, std::uint64_t offset, std::uint64_t size)
      : storage_(std::move(storage)), offset_(offset), size_(size), facts_(storage_->facts()) {
    facts_.size_max = size_;
    facts_.descriptor = -1;  // the bytes lie elsewhere in it
  }

  [[nodiscard]] const std::string& name() const noexcept override { return storage_->name(); }
  [[nodiscard]] bool writable() const noexcept override { return storage_->writable(); }
  [[nodiscard]] Result<> start() override { return storage_->start(); }
  [[nodiscard]] const StorageFacts& facts() const noexcept override { return facts_; }

  [[nodiscard]] Result<> read(HostOffset offset, std::span<std::byte> out) override {
    const auto inside = HostRange{offset, out.size()}.intersection({{0}, size_});
    if (inside.length < out.size()) std::memset(out.data() + inside.length, 0, out.size() - inside.length);
    if (inside.empty()) return {};
    return storage_->read(shifted(offset), out.first(inside.length));
  }
  [[nodiscard]] Result<> write(HostOffset offset, std::span<const std::byte> in) override {
    TRY(check({offset, in.size()}));
    return storage_->write(shifted(offset), in);
  }
  [[nodiscard]] Result<> write_zeroes(HostRange range, Zeroing zeroing) override {
    TRY(check(range));
    return storage_->write_zeroes({shifted(range.offset), range.length}, zeroing);
  }
  [[nodiscard]] Result<> discard(HostRange range) override {
    TRY(check(range));
    return storage_->discard({shifted(range.offset), range.length});
  }
  [[nodiscard]] Result<> allocate(HostRange range) override {
    TRY(check(range));
    return storage_->allocate({shifted(range.offset), range.length});
  }
  [[nodiscard]] Result<> flush() override { return storage_->flush(); }
  [[nodiscard]] Result<std::uint64_t> size() override { return size_; }
  [[nodiscard]] Result<> truncate(std::uint64_t size) override {
    if (size == size_) return {};
    return unsupported("a part of a file cannot be resized");
  }
  [[nodiscard]] Result<HostExtent> extent(HostOffset offset) override {
    if (offset.value >= size_) return HostExtent{.data = false, .length = 0};
    const auto left = size_ - offset.value;
    auto extent = TRY(storage_->extent(shifted(offset)));
    if (extent.length == 0) return HostExtent{.data = false, .length = left};  // the file was cut meanwhile
    extent.length = std::min(extent.length, left);
    return extent;
  }
  [[nodiscard]] Result<std::uint64_t> allocated_bytes() override { return storage_->allocated_bytes(); }

 private:
  [[nodiscard]] HostOffset shifted(HostOffset offset) const { return offset + offset_; }
  [[nodiscard]] Result<> check(HostRange range) const {
    if (fits(range.offset.value, range.length, size_)) return {};
    return fail(EFBIG, concat("write at offset ", hex(range.offset.value), " passes the end of the part of the file"));
  }

  const std::shared_ptr<Storage> storage_;
  const std::uint64_t offset_;
  const std::uint64_t size_;
  StorageFacts facts_;
};

}  // namespace

Result<std::shared_ptr<Storage>> slice_storage(std::shared_ptr<Storage> storage, std::uint64_t offset,
                                               std::optional<std::uint64_t> size) {
  const auto whole = TRY(storage->size());
  if (offset > whole || !fits(offset, size.value_or(0), whole)) {
    return fail(EINVAL,
                concat("offset ", offset, " and size ", size.value_or(0), " pass the end of the file at ", whole));
  }
  return std::make_shared<SliceStorage>(std::move(storage), offset, size.value_or(whole - offset));
}

}  // namespace penstock
