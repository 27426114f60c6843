// SPDX-License-Identifier: Apache-2.0
#include "format/raw/raw_driver.hpp"

namespace penstock {

RawDriver::RawDriver(std::shared_ptr<Storage> storage, std::uint64_t size)
    : storage_(std::move(storage)), block_size_(storage_->facts().block_size), size_(size) {}

Result<Mapping> RawDriver::map(GuestRange want) {
  return Mapping{.kind = MappingKind::data,
                 .length = want.length,
                 .storage = storage_.get(),
                 .host_offset = {want.offset.value},
                 .in_place = true};
}

Result<Reservation> RawDriver::reserve(GuestRange /*want*/) {
  return unsupported("format raw has every byte in its place already");
}

Result<> RawDriver::publish(Reservation /*filled*/) {
  return unsupported("format raw has every byte in its place already");
}

Result<std::uint64_t> RawDriver::publish_zero(GuestRange /*units*/, Zeroing /*zeroing*/) {
  return unsupported("format raw has no zero clusters");
}

Result<> RawDriver::discard(GuestRange range) {
  const GuestRange inside = range.intersection({{0}, size_});
  return storage_->discard({{inside.offset.value}, inside.length});
}

Result<> RawDriver::resize(std::uint64_t size, std::uint64_t /*backing_size*/) {
  TRY(storage_->truncate(size));
  TRY(storage_->flush());
  size_ = size;
  return {};
}

namespace {

Result<std::unique_ptr<FormatDriver>> open_raw(std::shared_ptr<Storage> storage, const FormatOpenOptions& /*options*/) {
  const std::uint64_t size = TRY(storage->size());
  return std::make_unique<RawDriver>(std::move(storage), size);
}

Result<Overhead> overhead(const std::map<std::string, std::string>& /*options*/, std::uint64_t /*size*/) {
  return Overhead{.always_full = true};
}

}  // namespace

const Format kRawFormat{.name = "raw",
                        .probe = nullptr,
                        .open = open_raw,
                        .plan_create = plan_raw,
                        .create_options = raw_create_options,
                        .overhead = overhead};

}  // namespace penstock
