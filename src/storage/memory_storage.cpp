// SPDX-License-Identifier: Apache-2.0
#include "storage/memory_storage.hpp"

#include "base/text.hpp"

#include <atomic>
#include <cstring>

namespace penstock {

namespace {

Result<> check_range(HostRange range) {
  if (fits(range.offset.value, range.length, StorageFacts{}.size_max)) return {};
  return system_failure(concat("change of ", range.length, " bytes at ", hex(range.offset.value)), EFBIG);
}

StorageFacts new_facts() {
  static std::atomic<std::uint64_t> last{0};
  return {.waits = Waits::never, .tells_holes = true, .identity = concat("memory:", ++last)};
}

}  // namespace

MemoryStorage::MemoryStorage(std::string name) : name_(std::move(name)), facts_(new_facts()) {}

Result<> MemoryStorage::read(HostOffset offset, std::span<std::byte> out) {
  const SharedLock lock(mutex_);
  while (!out.empty()) {
    const auto inside = offset.value % kPage;
    const auto piece = std::min<std::uint64_t>(out.size(), kPage - inside);
    const auto page = pages_.find(offset.value / kPage);
    if (page == pages_.end()) {
      std::memset(out.data(), 0, piece);
    } else {
      std::memcpy(out.data(), page->second.data() + inside, piece);
    }
    out = out.subspan(piece);
    offset += piece;
  }
  return {};
}

Result<> MemoryStorage::write(HostOffset offset, std::span<const std::byte> in) {
  TRY(check_range({offset, in.size()}));
  const ExclusiveLock lock(mutex_);
  if (in.empty()) return {};
  grow(offset.value + in.size());
  while (!in.empty()) {
    const auto inside = offset.value % kPage;
    const auto piece = std::min<std::uint64_t>(in.size(), kPage - inside);
    std::memcpy(pages_[offset.value / kPage].data() + inside, in.data(), piece);
    in = in.subspan(piece);
    offset += piece;
  }
  return {};
}

void MemoryStorage::zero(HostRange range) {
  for (HostOffset at = range.offset; at < range.end();) {
    const auto inside = at.value % kPage;
    auto piece = std::min<std::uint64_t>(range.end() - at, kPage - inside);
    if (inside == 0 && piece == kPage) {
      piece = align_down(range.end() - at, kPage);
      pages_.erase(pages_.lower_bound(at.value / kPage), pages_.lower_bound((at + piece).value / kPage));
    } else if (const auto page = pages_.find(at.value / kPage); page != pages_.end()) {
      std::memset(page->second.data() + inside, 0, piece);
    }
    at += piece;
  }
}

Result<> MemoryStorage::write_zeroes(HostRange range, Zeroing /*zeroing*/) {
  TRY(check_range(range));
  const ExclusiveLock lock(mutex_);
  if (range.empty()) return {};
  zero(range);
  grow(range.end().value);
  return {};
}

Result<> MemoryStorage::discard(HostRange range) {
  TRY(check_range(range));
  const ExclusiveLock lock(mutex_);
  zero(range);
  return {};
}

Result<> MemoryStorage::allocate(HostRange range) {
  TRY(check_range(range));
  const ExclusiveLock lock(mutex_);
  if (!range.empty()) grow(range.end().value);
  return {};
}

Result<std::uint64_t> MemoryStorage::size() {
  const SharedLock lock(mutex_);
  return size_;
}

Result<> MemoryStorage::truncate(std::uint64_t size) {
  TRY(check_range({{0}, size}));
  const ExclusiveLock lock(mutex_);
  if (size < size_) {
    zero({{size}, align_up(size, kPage) - size});
    pages_.erase(pages_.lower_bound(divide_up(size, kPage)), pages_.end());
  }
  size_ = size;
  return {};
}

Result<HostExtent> MemoryStorage::extent(HostOffset offset) {
  const SharedLock lock(mutex_);
  if (offset.value >= size_) return HostExtent{false, 0};
  auto number = offset.value / kPage;
  auto page = pages_.lower_bound(number);
  std::uint64_t end = size_;
  const bool data = page != pages_.end() && page->first == number;
  if (data) {
    for (; page != pages_.end() && page->first == number; ++page) ++number;
    end = number * kPage;
  } else if (page != pages_.end()) {
    end = page->first * kPage;
  }
  return HostExtent{data, std::min(end, size_) - offset.value};
}

Result<std::uint64_t> MemoryStorage::allocated_bytes() {
  const SharedLock lock(mutex_);
  return pages_.size() * kPage;
}

std::shared_ptr<MemoryStorage> MemoryStorage::copy(std::string name) {
  auto other = std::make_shared<MemoryStorage>(std::move(name));
  const SharedLock lock(mutex_);
  const ExclusiveLock other_lock(other->mutex_);
  other->pages_ = pages_;
  other->size_ = size_;
  return other;
}

}  // namespace penstock
