// SPDX-License-Identifier: Apache-2.0
#include "tests/support/recording_storage.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <stdexcept>

namespace penstock::test {

/// Records under the journal's mutex together with the change itself, so that the log has the order of the contents.
class RecordingStorage final : public ForwardingStorage {
 public:
  RecordingStorage(Journal& journal, std::size_t device, std::shared_ptr<Storage> memory)
      : ForwardingStorage(std::move(memory)), journal_(journal), device_(device) {}

  [[nodiscard]] Result<> write(HostOffset offset, std::span<const std::byte> in) override {
    const std::lock_guard lock(journal_.mutex_);
    journal_.record({device_, ChangeKind::write, {offset, in.size()}, {in.begin(), in.end()}});
    return inner().write(offset, in);
  }
  [[nodiscard]] Result<> write_zeroes(HostRange range, Zeroing zeroing) override {
    const std::lock_guard lock(journal_.mutex_);
    journal_.record({device_, ChangeKind::zero, range, {}});
    return inner().write_zeroes(range, zeroing);
  }
  [[nodiscard]] Result<> discard(HostRange range) override {
    const std::lock_guard lock(journal_.mutex_);
    // Never grows, unlike a write of zeroes.
    const auto inside = range.intersection({{0}, TRY(inner().size())});
    if (!inside.empty()) journal_.record({device_, ChangeKind::zero, inside, {}});
    return inner().discard(range);
  }
  [[nodiscard]] Result<> allocate(HostRange range) override {
    const std::lock_guard lock(journal_.mutex_);
    const auto size = std::max(TRY(inner().size()), range.end().value);
    journal_.record({device_, ChangeKind::truncate, {{0}, size}, {}});
    return inner().allocate(range);
  }
  [[nodiscard]] Result<> truncate(std::uint64_t size) override {
    const std::lock_guard lock(journal_.mutex_);
    journal_.record({device_, ChangeKind::truncate, {{0}, size}, {}});
    return inner().truncate(size);
  }
  [[nodiscard]] Result<> flush() override {
    const std::lock_guard lock(journal_.mutex_);
    journal_.record({device_, ChangeKind::flush, {}, {}});
    return inner().flush();
  }

 private:
  Journal& journal_;
  const std::size_t device_;
};

std::shared_ptr<Storage> Journal::add(const std::shared_ptr<MemoryStorage>& memory) {
  const std::lock_guard lock(mutex_);
  start_.push_back(memory->copy("crashed-" + memory->name()));
  return std::make_shared<RecordingStorage>(*this, start_.size() - 1, memory);
}

std::size_t Journal::position() const {
  const std::lock_guard lock(mutex_);
  return changes_.size();
}

std::vector<Change> Journal::changes() const {
  const std::lock_guard lock(mutex_);
  return changes_;
}

void Journal::record(Change change) {
  changes_.push_back(std::move(change));
}

namespace {

constexpr std::uint64_t kSector = 512;

/// A change of memory cannot fail below 8 EiB, where the recorded one went well.
void must(const Result<>& done) {
  if (!done) throw std::runtime_error(done.error().message());
}

void apply(MemoryStorage& memory, const Change& change) {
  switch (change.kind) {
    case ChangeKind::write:
      return must(memory.write(change.range.offset, change.data));
    case ChangeKind::zero:
      return must(memory.write_zeroes(change.range, Zeroing::keep));
    case ChangeKind::truncate:
      return must(memory.truncate(change.range.length));
    case ChangeKind::flush:
      return;
  }
}

/// Some of the sectors of a write or of zeroes.
void apply_torn(MemoryStorage& memory, const Change& change, Random& random) {
  if (change.kind != ChangeKind::write && change.kind != ChangeKind::zero) return apply(memory, change);
  if (change.range.length > (4U << 20U)) return apply(memory, change);
  const bool in_order = random.chance(50);  // a cut in the middle, or any sectors
  const auto end = change.range.end();
  const auto cut = change.range.offset + random.below(change.range.length + 1);
  for (HostOffset at = change.range.offset; at < end;) {
    const HostOffset next{std::min(end.value, align_down(at.value, kSector) + kSector)};
    if (in_order ? next <= cut : random.chance(50)) {
      Change piece{change.device, change.kind, {at, next - at}, {}};
      if (change.kind == ChangeKind::write) {
        const auto from = change.data.begin() + static_cast<std::ptrdiff_t>(at - change.range.offset);
        piece.data.assign(from, from + static_cast<std::ptrdiff_t>(next - at));
      }
      apply(memory, piece);
    }
    at = next;
  }
}

void apply_up_to(MemoryStorage& memory, const Change& change, HostOffset end) {
  const bool whole = end >= change.range.end() || (change.kind != ChangeKind::write && change.kind != ChangeKind::zero);
  if (whole) return apply(memory, change);
  Change piece{change.device, change.kind, {change.range.offset, end - change.range.offset}, change.data};
  piece.data.resize(std::min<std::size_t>(piece.data.size(), piece.range.length));
  if (!piece.range.empty()) apply(memory, piece);
}

/// What is known to be there, and what may be.
struct Disk {
  std::vector<std::shared_ptr<MemoryStorage>> durable;
  std::vector<std::vector<const Change*>> pending;

  void advance(const Change& change) {
    if (change.kind != ChangeKind::flush) return pending[change.device].push_back(&change);
    for (const Change* earlier : pending[change.device]) apply(*durable[change.device], *earlier);
    pending[change.device].clear();
  }

  [[nodiscard]] std::size_t unflushed() const {
    std::size_t sum = 0;
    for (const auto& changes : pending) sum += changes.size();
    return sum;
  }

  /// Of the unflushed changes, device by device, those whose bit is set; the last one as far as `last_end`.
  [[nodiscard]] CrashImage image_of(std::size_t moment, std::uint64_t kept, const Change* last,
                                    HostOffset last_end) const {
    CrashImage result{
        .moment = moment, .what = concat("crash after ", moment, " changes, kept ", hex(kept)), .devices = {}};
    for (std::size_t device = 0; device < durable.size(); ++device) {
      auto memory = durable[device]->copy(durable[device]->name());
      for (const Change* change : pending[device]) {
        if ((kept & 1U) != 0) apply_up_to(*memory, *change, change == last ? last_end : change->range.end());
        kept >>= 1U;
      }
      result.devices.push_back(std::move(memory));
    }
    return result;
  }

  [[nodiscard]] CrashImage image(std::size_t moment, Random& random) const {
    CrashImage result;
    result.moment = moment;
    enum Way { nothing, all, some, few, all_but_few, ways };
    const auto way = random.below(ways);
    const unsigned percent = std::array<unsigned, ways>{0, 100, 50, 15, 85}.at(way);
    const bool torn = random.chance(50);
    result.what =
        concat("crash after ", moment, " changes, ", percent, " % of the unflushed ones kept", torn ? ", torn" : "");
    for (std::size_t device = 0; device < durable.size(); ++device) {
      auto memory = durable[device]->copy(durable[device]->name());
      for (const Change* change : pending[device]) {
        if (!random.chance(percent)) continue;
        if (torn && random.chance(50)) {
          apply_torn(*memory, *change, random);
        } else {
          apply(*memory, *change);
        }
      }
      result.devices.push_back(std::move(memory));
    }
    return result;
  }
};

}  // namespace

void Journal::crash(Random& random, std::size_t count, const std::function<bool(const CrashImage&)>& use) const {
  std::vector<std::size_t> flushes;
  for (std::size_t index = 0; index < changes_.size(); ++index) {
    if (changes_[index].kind == ChangeKind::flush) flushes.push_back(index + 1);
  }
  std::multiset<std::size_t> moments;
  // Half for the moments around flushes, where the order of things shows, the rest anywhere.
  for (std::size_t number = 0; number < count; ++number) {
    const bool near_flush = number % 2 == 0 && !flushes.empty();
    moments.insert(near_flush ? flushes[random.below(flushes.size())] - random.below(2)
                              : random.below(changes_.size() + 1));
  }
  Disk disk;
  for (const auto& memory : start_) disk.durable.push_back(memory->copy(memory->name()));
  disk.pending.resize(start_.size());
  std::size_t done = 0;
  for (const std::size_t moment : moments) {
    for (; done < moment; ++done) disk.advance(changes_[done]);
    if (!use(disk.image(moment, random))) return;
  }
}

void Journal::crash_everywhere(Random& random, std::size_t pending_max,
                               const std::function<bool(const CrashImage&)>& use) const {
  Disk disk;
  for (const auto& memory : start_) disk.durable.push_back(memory->copy(memory->name()));
  disk.pending.resize(start_.size());
  if (!use(disk.image_of(0, 0, nullptr, {}))) return;
  for (std::size_t moment = 1; moment <= changes_.size(); ++moment) {
    const Change& last = changes_[moment - 1];
    disk.advance(last);
    const auto unflushed = disk.unflushed();
    if (unflushed > 64) throw std::runtime_error("no small run: more than 64 changes between two flushes");
    if (last.kind == ChangeKind::flush) {
      if (!use(disk.image_of(moment, 0, nullptr, {}))) return;
      continue;
    }
    // Without the last change it is an image of the moment before.
    std::size_t before_last = 0;
    for (std::size_t device = 0; device <= last.device; ++device) before_last += disk.pending[device].size();
    const std::uint64_t last_bit = std::uint64_t{1} << (before_last - 1);
    const bool all = unflushed <= pending_max;
    const std::uint64_t subsets = 1ULL << std::min(unflushed, pending_max);
    for (std::uint64_t subset = 0; subset < subsets; ++subset) {
      const auto kept = all ? subset : random.next() | last_bit;
      if ((kept & last_bit) == 0) continue;
      if (!use(disk.image_of(moment, kept, &last, last.range.end()))) return;
    }
    for (auto cut = align_down(last.range.offset.value, kSector) + kSector; cut < last.range.end().value;
         cut += kSector) {
      if (last.kind == ChangeKind::truncate) break;
      for (const std::uint64_t others : {~std::uint64_t{0}, last_bit}) {
        if (!use(disk.image_of(moment, others, &last, {cut}))) return;
      }
    }
  }
}

}  // namespace penstock::test
