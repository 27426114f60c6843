// SPDX-License-Identifier: Apache-2.0
// Damaged images: opening, reading, checking, repairing and writing them neither crashes nor hangs, and never changes
// what the guest could read before.
#include "base/endian.hpp"
#include "format/qcow2/format.hpp"
#include "format/qcow2/header.hpp"
#include "storage/memory_storage.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/random.hpp"
#include "tests/support/recording_storage.hpp"

#include <optional>
#include <sstream>

namespace penstock::qcow2 {
namespace {

using test::must;
using test::Random;
using Options = std::map<std::string, std::string>;
using Bytes = std::vector<std::byte>;
using Memory = std::shared_ptr<MemoryStorage>;

constexpr std::uint64_t kSize = 512U << 10U;

/// What the guest reads of each cluster: its bytes, "-" where a backing file would show, nothing where it cannot be
/// read.
using Contents = std::vector<std::optional<std::string>>;

class Subject {
 public:
  Subject(std::string name, const Options& options) : name_(std::move(name)), options_(options) {}

  void make(Random& random) {
    CreateRequest request;
    request.size = kSize;
    request.options = options_;
    image_ = std::make_shared<MemoryStorage>("image");
    if (options_.contains("data_file")) data_ = std::make_shared<MemoryStorage>("data");
    must(must(kFormat.plan_create(request))->write(image_, data_));
    auto driver = must(open(image_, true));
    for (int i = 0; i < 12; ++i) change(*driver, random);
    must(driver->close());
  }

  /// An image that does not refuse to be opened.
  [[nodiscard]] Result<std::unique_ptr<FormatDriver>> open(const std::shared_ptr<Storage>& image, bool writable) const {
    FormatOpenOptions options{.writable = writable};
    options.open_file = [this](std::string_view, bool) -> Result<std::shared_ptr<Storage>> {
      if (data_ == nullptr) return fail(ENOENT, "no data file");
      return data_;
    };
    return kFormat.open(image, options);
  }

  /// One random write, zeroing or discard of whole clusters; answers which, or an empty range when it was refused.
  static GuestRange change(FormatDriver& driver, Random& random) {
    const std::uint64_t cluster = driver.geometry().cluster_size;
    const std::uint64_t clusters = divide_up(driver.virtual_size(), cluster);
    if (clusters == 0 || !driver.begin_writing()) return {};
    const std::uint64_t first = random.below(clusters);
    const GuestRange range{{first * cluster}, std::min(random.between(1, 8), clusters - first) * cluster};
    switch (random.below(6)) {
      case 0:
        return driver.publish_zero(range, random.chance(50) ? Zeroing::keep : Zeroing::may_unmap) ? range : range;
      case 1:
        return driver.discard(range) ? range : range;
      default:
        break;
    }
    Bytes data(cluster);
    random.fill(data);
    for (GuestOffset at = range.offset; at < range.end();) {
      const auto mapping = driver.map({at, std::min(cluster, range.end() - at)});
      if (!mapping) return range;
      if (mapping->kind == MappingKind::data && mapping->in_place) {
        must(mapping->storage->write(mapping->host_offset, std::span(data).first(mapping->length)));
        at += mapping->length;
        continue;
      }
      auto room = driver.reserve({at, range.end() - at});
      if (!room) return range;
      for (const ReservedRun& run : room->runs()) {
        for (std::uint64_t done = 0; done < run.guest.length; done += std::min(cluster, run.guest.length - done)) {
          const auto piece = std::span(data).first(std::min(cluster, run.guest.length - done));
          must(run.storage->write(run.host_offset + done, piece));
        }
      }
      at = room->range().end();
      if (!driver.publish(*std::move(room))) return range;
    }
    return range;
  }

  [[nodiscard]] Contents read(const std::shared_ptr<Storage>& image) const {
    auto driver = open(image, false);
    return driver ? read(**driver) : Contents{};
  }
  static Contents read(FormatDriver& driver) {
    const std::uint64_t cluster = driver.geometry().cluster_size;
    Contents contents;
    for (std::uint64_t at = 0; at < std::min<std::uint64_t>(driver.virtual_size(), 4 * kSize); at += cluster) {
      contents.push_back(read_cluster(driver, at, std::min(cluster, driver.virtual_size() - at)));
    }
    return contents;
  }

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const Memory& image() const { return image_; }

 private:
  static std::optional<std::string> read_cluster(FormatDriver& driver, std::uint64_t at, std::uint64_t length) {
    std::string out;
    while (out.size() < length) {
      const auto mapping = driver.map({{at + out.size()}, length - out.size()});
      if (!mapping) return std::nullopt;
      std::string piece(mapping->length, mapping->kind == MappingKind::unallocated ? '-' : '\0');
      if (mapping->kind == MappingKind::data) {
        if (!mapping->storage->read(mapping->host_offset, std::as_writable_bytes(std::span(piece))))
          return std::nullopt;
      } else if (mapping->kind == MappingKind::compressed) {
        Bytes packed(mapping->packed_length);
        Bytes cluster(driver.geometry().cluster_size);
        if (!mapping->storage->read(mapping->host_offset, packed)) return std::nullopt;
        if (!driver.unpack(packed, cluster)) return std::nullopt;
        const std::uint64_t inside = at + out.size() - mapping->cluster.value;
        piece.assign(reinterpret_cast<const char*>(cluster.data()) + inside, mapping->length);
      }
      out += piece;
    }
    return out;
  }

  std::string name_;
  Options options_;
  Memory image_;
  Memory data_;
};

std::uint64_t word_at(Storage& image, std::uint64_t at) {
  Bytes bytes(8);
  must(image.read({at}, bytes));
  return load_be<std::uint64_t>(std::span<const std::byte>(bytes), 0);
}

void put_word(Storage& image, std::uint64_t at, std::uint64_t value) {
  must(write_header_field(image, {at}, value));
}

/// Where the entries of L1, L2 tables, refcount table and blocks lie.
std::vector<std::uint64_t> metadata_words(Storage& image, const Header& header) {
  std::vector<std::uint64_t> words;
  const std::uint64_t cluster = header.cluster_size();
  for (std::uint64_t i = 0; i < header.l1_entries; ++i) {
    const std::uint64_t at = header.l1_offset.value + i * 8;
    words.push_back(at);
    const std::uint64_t table = word_at(image, at) & 0x00fffffffffffe00ULL;
    for (std::uint64_t j = 0; table != 0 && j < cluster; j += 8) {
      if (word_at(image, table + j) != 0 || j < 16) words.push_back(table + j);
    }
  }
  for (std::uint64_t i = 0; i < 4; ++i) {
    const std::uint64_t at = header.refcount_table_offset.value + i * 8;
    words.insert(words.end(), 4, at);
    const std::uint64_t block = word_at(image, at);
    for (std::uint64_t j = 0; block != 0 && j < 64; ++j) words.push_back(block + j * 8);
  }
  return words;
}

void damage(Storage& image, Random& random) {
  const Header header = must(read_header(image, HeaderUse::check));
  const auto words = metadata_words(image, header);
  const std::uint64_t clusters = must(image.size()) / header.cluster_size() + 2;
  const std::uint64_t cluster = header.cluster_size();
  const auto any = [&] { return words[random.below(words.size())]; };
  for (std::uint64_t left = random.between(1, 4); left != 0; --left) {
    const std::uint64_t at = any();
    const std::uint64_t old = word_at(image, at);
    switch (random.below(10)) {
      case 0:
        put_word(image, at, old ^ 1ULL << random.below(64));
        break;
      case 1:
        put_word(image, at, 0);
        break;
      case 2:
        put_word(image, at, word_at(image, any()));
        break;
      case 3:
        put_word(image, at, old + (random.chance(50) ? 512 : cluster));
        break;
      case 4:
        put_word(image, at, (old & ~0x00fffffffffffe00ULL) | random.below(clusters) * cluster);
        break;
      case 5:
        put_word(image, at, old ^ 1ULL << 63U);
        break;
      case 6:
        put_word(image, at, random.next());
        break;
      case 7:
        put_word(image, at, old | 1ULL << 62U);
        break;
      case 8:
        put_word(image, random.below(14) * 8 + 8, random.chance(50) ? random.next() : random.below(256));
        break;
      default:
        must(image.truncate(random.between(cluster, must(image.size()))));
        break;
    }
  }
}

/// Every cluster that `before` has must be the same in `after`, except those in `changed`.
void expect_kept(const Contents& before, const Contents& after, const std::string& what,
                 const std::vector<bool>& changed = {}) {
  if (before.empty()) return;
  ASSERT_EQ(before.size(), after.size()) << what;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (!before[i] || (!changed.empty() && changed[i])) continue;
    ASSERT_TRUE(after[i].has_value()) << what << ": cluster " << i << " cannot be read any more";
    ASSERT_EQ(*before[i] == *after[i], true) << what << ": cluster " << i << " changed";
  }
}

std::vector<Subject> subjects(Random& random) {
  std::vector<Subject> all;
  all.emplace_back("64k", Options{});
  all.emplace_back("512", Options{{"cluster_size", "512"}});
  all.emplace_back("1 bit", Options{{"cluster_size", "512"}, {"refcount_bits", "1"}});
  all.emplace_back("64 bits", Options{{"cluster_size", "1k"}, {"refcount_bits", "64"}});
  all.emplace_back("version 2", Options{{"cluster_size", "2k"}, {"compat", "0.10"}});
  all.emplace_back("subclusters", Options{{"cluster_size", "16k"}, {"extended_l2", "on"}});
  all.emplace_back("data file", Options{{"cluster_size", "4k"}, {"data_file", "d"}});
  all.emplace_back("lazy", Options{{"cluster_size", "4k"}, {"lazy_refcounts", "on"}});
  all.emplace_back("preallocated", Options{{"cluster_size", "4k"}, {"preallocation", "metadata"}});
  for (Subject& subject : all) subject.make(random);
  return all;
}

CheckReport check(const std::shared_ptr<Storage>& image, Repair repair, std::string* lines = nullptr) {
  CheckOptions options;
  options.repair = repair;
  if (lines != nullptr) options.log = [lines](std::string_view line) { lines->append(line).append("\n"); };
  const auto report = kFormat.check(image, {}, options);
  if (report) return *report;
  CheckReport refused;
  refused.check_errors = 1;
  return refused;
}

/// Of two entries that shared a cluster the one not written is left without its COPIED flag: wasteful, not wrong.
std::uint64_t missing_flags(const std::string& lines) {
  std::uint64_t count = 0;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("ERROR OFLAG_COPIED") && line.ends_with(" refcount=1")) ++count;
  }
  return count;
}

TEST(Qcow2Hostile, RepairsKeepWhatTheGuestCouldRead) {
  Random random("Qcow2Hostile");
  const auto all = subjects(random);
  unsigned repaired = 0;
  for (unsigned round = 0; round < 1200; ++round) {
    const Subject& subject = all[round % all.size()];
    const std::string what = subject.name() + ", round " + std::to_string(round);
    const Memory image = subject.image()->copy();
    damage(*image, random);
    const Contents before = subject.read(image);
    const CheckReport found = check(image, Repair::none);
    expect_kept(before, subject.read(image), what + ", after a check");

    const Memory leaks = image->copy();
    check(leaks, Repair::leaks);
    expect_kept(before, subject.read(leaks), what + ", after -r leaks");

    const CheckReport after = check(image, Repair::all);
    expect_kept(before, subject.read(image), what + ", after -r all");
    if (HasFatalFailure()) return;
    if (after.check_errors + found.check_errors != 0 || after.corruptions + after.leaks != 0) continue;
    ++repaired;
    const CheckReport again = check(image, Repair::none);
    ASSERT_EQ(again.corruptions + again.leaks + again.check_errors, 0U) << what;
  }
  EXPECT_GT(repaired, 100U);
}

TEST(Qcow2Hostile, RepairedImagesTakeWritesWithoutHarmToOthers) {
  Random random("Qcow2Hostile");
  const auto all = subjects(random);
  unsigned written = 0;
  for (unsigned round = 0; round < 600; ++round) {
    const Subject& subject = all[round % all.size()];
    const std::string what = subject.name() + ", round " + std::to_string(round);
    const Memory image = subject.image()->copy();
    damage(*image, random);
    const CheckReport report = check(image, Repair::all);
    // One count for two users cannot be repaired where it has but one bit.
    if (report.corruptions + report.leaks + report.check_errors != 0) continue;
    auto driver = subject.open(image, true);
    if (!driver) continue;
    const Contents before = Subject::read(**driver);
    const std::uint64_t cluster = (*driver)->geometry().cluster_size;
    std::vector<bool> changed(before.size());
    for (int i = 0; i < 8; ++i) {
      const GuestRange range = Subject::change(**driver, random);
      for (std::uint64_t at = range.offset.value / cluster; at < range.end().value / cluster; ++at) changed[at] = true;
    }
    if (!subject.name().starts_with("data")) {
      expect_kept(before, Subject::read(**driver), what + ", after writes", changed);
    }
    EXPECT_OK((*driver)->close()) << what;
    driver->reset();
    std::string lines;
    const CheckReport after = check(image, Repair::none, &lines);
    ASSERT_EQ(after.corruptions + after.leaks + after.check_errors, missing_flags(lines)) << what << '\n' << lines;
    if (HasFatalFailure()) return;
    ++written;
  }
  EXPECT_GT(written, 60U);
}

TEST(Qcow2Hostile, WritingToDamageItselfNeverCrashes) {
  Random random("Qcow2Hostile");
  const auto all = subjects(random);
  for (unsigned round = 0; round < 600; ++round) {
    const Subject& subject = all[round % all.size()];
    const Memory image = subject.image()->copy();
    damage(*image, random);
    auto driver = subject.open(image, true);
    if (!driver) continue;
    for (int i = 0; i < 8; ++i) Subject::change(**driver, random);
    // Errors are fine; crashes and hangs are not.
    (void)(*driver)->flush();
    (void)(*driver)->close();
  }
}

TEST(Qcow2Hostile, CrashInTheMiddleOfARepairLosesNothing) {
  Random random("Qcow2Hostile");
  const auto all = subjects(random);
  for (unsigned round = 0; round < 60; ++round) {
    const Subject& subject = all[round % all.size()];
    const std::string what = subject.name() + ", round " + std::to_string(round);
    const Memory image = subject.image()->copy();
    damage(*image, random);
    const Contents before = subject.read(image);
    test::Journal journal;
    check(journal.add(image), Repair::all);
    journal.crash(random, 12, [&](const test::CrashImage& crash) {
      expect_kept(before, subject.read(crash.devices[0]), what + ", " + crash.what);
      return !HasFatalFailure();
    });
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace penstock::qcow2
