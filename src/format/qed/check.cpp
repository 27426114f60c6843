// SPDX-License-Identifier: Apache-2.0
#include "format/qed/check.hpp"

#include "base/endian.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/work_report.hpp"
#include "format/cluster_set.hpp"
#include "format/qed/table_clusters.hpp"

#include <array>

namespace penstock::qed {

namespace {

constexpr std::uint64_t kZeroCluster = 1;

class Checker {
 public:
  Checker(Storage& storage, Header header, std::uint64_t file_end, const CheckOptions& options)
      : storage_(storage), header_(std::move(header)), file_end_(file_end), options_(options) {}

  Result<CheckReport> run() {
    report_.total_clusters = divide_up(header_.image_size, header_.cluster_size);
    static_cast<void>(mark(header_.l1_offset, header_.table_size));
    TRY(visit_table(storage_, header_, header_.l1_offset, [this](std::uint64_t index, std::uint64_t entry) {
      tell_work(index, header_.table_bytes() / 8);
      return check_l1_entry(index, entry);
    }));
    count_leaks();
    TRY(finish());
    return report_;
  }

  /// After run(): runs of clusters that nobody refers to, before the last one in use; not more than fit in 1 MiB.
  std::vector<HostRange> unused() const {
    constexpr std::size_t kRunsMax = (1U << 20U) / sizeof(HostRange);
    std::vector<HostRange> runs;
    used_.visit_absent(header_.header_size, last_used_, [&](std::uint64_t first, std::uint64_t count) {
      runs.push_back({{first * header_.cluster_size}, count * header_.cluster_size});
      return runs.size() < kRunsMax;
    });
    return runs;
  }

 private:
  /// False when one of the clusters is in use already.
  bool mark(HostOffset offset, std::uint64_t clusters) {
    const std::uint64_t first = offset.value / header_.cluster_size;
    if (used_.overlaps(first, clusters)) return false;
    used_.insert(first, clusters);
    used_count_ += clusters;
    last_used_ = std::max(last_used_, first + clusters);
    return true;
  }

  void say(const std::string& line) const {
    if (options_.log) options_.log(line);
  }

  /// A finding that is mended by writing `value` at `at`, when repair is asked for.
  Result<> mend(HostOffset at, std::uint64_t value, const std::string& what) {
    if (options_.repair != Repair::all) {
      say("ERROR " + what);
      ++report_.corruptions;
      return {};
    }
    say("Repairing " + what);
    std::array<std::byte, 8> bytes{};
    store_le(std::span<std::byte>(bytes), 0, value);
    TRY(storage_.write(at, bytes));
    ++report_.corruptions_fixed;
    return {};
  }

  Result<> check_l1_entry(std::uint64_t index, std::uint64_t entry) {
    const auto what = [&](std::string_view problem) {
      return concat("L1 entry ", index, " (", hex(entry), ") ", problem);
    };
    if (!header_.is_table_offset(entry, file_end_)) {
      return mend(header_.l1_offset + index * 8, 0, what("is no table inside the file"));
    }
    if (!mark({entry}, header_.table_size)) {
      // Whose clusters these are cannot be told.
      say("ERROR " + what("names clusters that are in use already"));
      ++report_.corruptions;
      return {};
    }
    last_data_ = 0;  // between tables there is no order to be broken
    return visit_table(storage_, header_, {entry},
                       [&](std::uint64_t slot, std::uint64_t value) { return check_l2_entry({entry}, slot, value); });
  }

  Result<> check_l2_entry(HostOffset table, std::uint64_t index, std::uint64_t entry) {
    if (entry == kZeroCluster) return {};
    const auto what = [&](std::string_view problem) {
      return concat("L2 table at ", hex(table.value), " entry ", index, " (", hex(entry), ") ", problem);
    };
    if (!header_.is_data_offset(entry, file_end_)) return mend(table + index * 8, 0, what("is no cluster of the file"));
    if (!mark({entry}, 1)) {
      say("ERROR " + what("names a cluster that is in use already"));
      ++report_.corruptions;
      return {};
    }
    ++report_.allocated_clusters;
    if (last_data_ != 0 && last_data_ + header_.cluster_size != entry) ++report_.fragmented_clusters;
    last_data_ = entry;
    return {};
  }

  void count_leaks() {
    const std::uint64_t clusters = file_end_ / header_.cluster_size;
    const std::uint64_t behind = std::max<std::uint64_t>(last_used_, header_.header_size);
    trailing_ = clusters > behind ? clusters - behind : 0;
    report_.leaks = clusters - std::min<std::uint64_t>(clusters, header_.header_size) - used_count_;
  }

  Result<> finish() {
    if (options_.repair == Repair::none) {
      if (report_.leaks != 0) say(concat("Leaked ", report_.leaks, " clusters"));
      return {};
    }
    // Barrier: the entries that led behind the end are gone before the end moves.
    TRY(storage_.flush());
    if (trailing_ != 0 && report_.corruptions == 0) {
      const auto cut = storage_.truncate(file_end_ - trailing_ * header_.cluster_size);
      if (cut) {
        say(concat("Repairing ", trailing_, " leaked clusters at the end of the file"));
        report_.leaks -= trailing_;
        report_.leaks_fixed += trailing_;
      } else if (!cut.error().is(EOPNOTSUPP)) {
        return cut;
      }
    }
    if (report_.corruptions == 0 && (header_.features & kNeedCheck) != 0) {
      header_.features &= ~std::uint64_t{kNeedCheck};
      TRY(write_header(storage_, header_));
    }
    return storage_.flush();
  }

  Storage& storage_;
  Header header_;
  const std::uint64_t file_end_;
  const CheckOptions& options_;
  CheckReport report_;
  ClusterSet used_;
  std::uint64_t used_count_ = 0;
  std::uint64_t last_used_ = 0;  // one behind the last cluster in use
  std::uint64_t last_data_ = 0;
  std::uint64_t trailing_ = 0;  // leaked clusters behind all that are in use
};

}  // namespace

Result<CheckReport> check(std::shared_ptr<Storage> storage, const FormatOpenOptions& /*open*/,
                          const CheckOptions& options) {
  auto header = TRY(read_header(*storage));
  const std::uint64_t file_end = TRY(file_end_of(*storage, header));
  return Checker(*storage, std::move(header), file_end, options).run();
}

Result<std::vector<HostRange>> repair_after_crash(const std::shared_ptr<Storage>& storage) {
  auto header = TRY(read_header(*storage));
  const std::uint64_t file_end = TRY(file_end_of(*storage, header));
  const CheckOptions options{.repair = Repair::all, .log = {}};
  Checker checker(*storage, std::move(header), file_end, options);
  const CheckReport report = TRY(checker.run());
  if (report.corruptions != 0) {
    return corrupt(concat("was not closed cleanly, and ", report.corruptions,
                          " errors cannot be mended; open it read-only and copy what is in it"));
  }
  if (report.corruptions_fixed + report.leaks_fixed != 0) {
    log_line(LogLevel::warning,
             concat(printable(storage->name()), ": was not closed cleanly; repaired ", report.corruptions_fixed,
                    " entries and ", report.leaks_fixed, " leaked clusters"));
  }
  return checker.unused();
}

}  // namespace penstock::qed
