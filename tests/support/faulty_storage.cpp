// SPDX-License-Identifier: Apache-2.0
#include "tests/support/faulty_storage.hpp"

namespace penstock::test {

void FaultyStorage::arm(const Fault& fault) {
  const std::lock_guard lock(mutex_);
  fault_ = fault;
  calls_ = 0;
  fired_ = false;
}

std::uint64_t FaultyStorage::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

std::uint64_t FaultyStorage::failures() const {
  const std::lock_guard lock(mutex_);
  return failures_;
}

bool FaultyStorage::flush_failed() const {
  const std::lock_guard lock(mutex_);
  return flush_failed_;
}

bool FaultyStorage::fired() const {
  const std::lock_guard lock(mutex_);
  return fired_;
}

std::uint64_t FaultyStorage::part_done(HostRange write) const {
  const std::lock_guard lock(mutex_);
  if (fault_.effect == Effect::none) return 0;
  if (fault_.effect == Effect::whole) return write.length;
  // A sector is written wholly or not at all.
  constexpr std::uint64_t kSector = 512;
  const auto end = align_down(write.offset.value + write.length / 2, kSector);
  return end > write.offset.value ? end - write.offset.value : 0;
}

Result<> FaultyStorage::pass(Kind kind) {
  const std::lock_guard lock(mutex_);
  if (kind == flushes && flush_failed_) return system_failure("injected earlier", EIO);
  if ((fault_.kinds & kind) == 0) return {};
  const auto call = calls_++;
  if (call < fault_.after || (call > fault_.after && !fault_.for_ever)) return {};
  fired_ = true;
  ++failures_;
  if (kind == flushes) flush_failed_ = true;
  return system_failure("injected", fault_.number);
}

Result<> FaultyStorage::read(HostOffset offset, std::span<std::byte> out) {
  TRY(pass(reads));
  return inner().read(offset, out);
}
Result<> FaultyStorage::write(HostOffset offset, std::span<const std::byte> in) {
  if (auto failed = pass(writes); !failed) {
    const auto done = part_done({offset, in.size()});
    if (done != 0) TRY(inner().write(offset, in.first(done)));
    return failed;
  }
  return inner().write(offset, in);
}
Result<> FaultyStorage::write_zeroes(HostRange range, Zeroing zeroing) {
  TRY(pass(zeroes));
  return inner().write_zeroes(range, zeroing);
}
Result<> FaultyStorage::discard(HostRange range) {
  TRY(pass(discards));
  return inner().discard(range);
}
Result<> FaultyStorage::allocate(HostRange range) {
  TRY(pass(allocates));
  return inner().allocate(range);
}
Result<> FaultyStorage::flush() {
  TRY(pass(flushes));
  return inner().flush();
}
Result<std::uint64_t> FaultyStorage::size() {
  TRY(pass(sizes));
  return inner().size();
}
Result<> FaultyStorage::truncate(std::uint64_t size) {
  TRY(pass(truncates));
  return inner().truncate(size);
}
Result<HostExtent> FaultyStorage::extent(HostOffset offset) {
  TRY(pass(extents));
  return inner().extent(offset);
}

}  // namespace penstock::test
