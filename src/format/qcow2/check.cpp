// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/check.hpp"

#include "base/log.hpp"
#include "base/text.hpp"
#include "format/qcow2/entry_repair.hpp"
#include "format/qcow2/refcount_rebuild.hpp"
#include "format/qcow2/table_scan.hpp"

namespace penstock::qcow2 {

namespace {

constexpr std::uint64_t kKnownAutoclear = kBitmaps | kRawDataFile;

/// The order of repairs: entries that lose a reference, then counts, then flags that rely on counts, then the header's
/// dirty and corrupt bits; each durable before the next begins.
class Checker {
 public:
  Checker(Storage& storage, Header header, const CheckOptions& options)
      : storage_(storage), header_(std::move(header)), repair_(options.repair), log_(options.log), findings_(log_) {}

  Result<CheckReport> run() {
    if (repair_ != Repair::none && !storage_.writable()) return fail(EBADF, "cannot repair what is open read-only");
    if (!TRY(examine(log_))) return findings_.report;
    if (repair_ == Repair::all && repairable_entries_ != 0) TRY(repair_entries());
    const bool finished = repair_ == Repair::none ? TRY(compare()) : TRY(repair_counts());
    if (!finished) return findings_.report;
    TRY(check_flags());
    findings_.report.image_end_offset = stored_->used_end() << header_.cluster_bits;
    if (repair_ != Repair::none && findings_.report.corruptions == 0 && findings_.report.check_errors == 0) {
      TRY(clear_bits(kDirty | kCorrupt));
    }
    return findings_.report;
  }

  /// The dirty bit promises nothing but wrong refcounts, and those are right now, whatever else is wrong.
  Result<> clear_dirty() { return clear_bits(kDirty); }

 private:
  /// Counts everything anew; false when that could not be finished, with the reason in the report.
  Result<bool> examine(const Findings::Log& log) {
    const CheckReport before = findings_.report;
    findings_ = Findings(log);
    findings_.report.corruptions_fixed = before.corruptions_fixed;
    findings_.report.leaks_fixed = before.leaks_fixed;
    findings_.report.total_clusters = divide_up(header_.virtual_size(), header_.cluster_size());
    const auto examined = examine_tables();
    findings_.report.check_errors += examined ? 0 : 1;
    if (!examined) log_line_of(concat("ERROR: ", examined.error().message()));
    // What comes later is new to the listener, even where the examination was repeated in silence.
    const CheckReport report = findings_.report;
    findings_ = Findings(log_);
    findings_.report = report;
    return examined.has_value();
  }

  Result<> examine_tables() {
    reader_.emplace(TRY(TableReader::make(storage_)));
    use_.emplace(reader_->file_size(), header_.cluster_bits);
    stored_.emplace(*reader_, header_);
    TableScan scan(*reader_, header_, *use_, findings_);
    TRY(scan.run());
    repairable_entries_ = scan.repairable_entries();
    TRY(stored_->load());
    TRY(stored_->count_blocks(*use_, findings_));
    use_->references().seal();
    return {};
  }

  void log_line_of(std::string_view text) const {
    if (log_) log_(text);
  }

  /// Unknown autoclear bits promise what a program that does not know them may break.
  Result<> begin_repair() {
    if (began_) return {};
    began_ = true;
    if ((header_.autoclear & ~kKnownAutoclear) == 0) return {};
    header_.autoclear &= kKnownAutoclear;
    TRY(write_header_field(storage_, kAutoclearField, header_.autoclear));
    return storage_.flush();
  }

  Result<> repair_entries() {
    TRY(begin_repair());
    TRY(repair_misaligned_zeroes(*reader_, header_, *use_, findings_));
    return examine_again();
  }

  /// After a repair: what is gone was fixed.
  Result<> examine_again() {
    const CheckReport before = findings_.report;
    if (!TRY(examine({}))) return corrupt("the image cannot be examined after a repair");
    findings_.report.corruptions_fixed +=
        before.corruptions - std::min(before.corruptions, findings_.report.corruptions);
    findings_.report.leaks_fixed += before.leaks - std::min(before.leaks, findings_.report.leaks);
    return {};
  }

  struct Differences {
    bool missing = false;    ///< a used cluster is stored as free: the next allocation would hand it out
    bool uncovered = false;  ///< its count has no place to be stored
  };

  static std::string line_of(std::string_view what, const StoredRefcounts::Mismatch& found, std::uint64_t counted) {
    return concat(what, " cluster ", found.cluster, " refcount=", found.stored, " reference=", counted);
  }

  [[nodiscard]] std::uint64_t storable(std::uint64_t counted) const {
    return std::min(counted, header_.refcount_max());
  }

  /// Reports what differs, and mends it in place where `fix` says so.
  Result<Differences> compare_counts(Findings& findings, Repair fix) {
    Differences differences;
    using Extent = StoredRefcounts::Extent;
    const auto extent = fix == Repair::none ? Extent::file : Extent::all;
    TRY(stored_->for_each_mismatch(*use_, extent, [&](const StoredRefcounts::Mismatch& found) -> Result<> {
      const std::uint64_t counted = storable(found.counted);
      if (counted != found.counted) {
        findings.corruption(concat("ERROR: overflow cluster offset=", hex(found.cluster << header_.cluster_bits), "; ",
                                   found.counted, " references are more than refcounts of ", header_.refcount_bits(),
                                   " bits can hold, use qemu-img amend to widen them"),
                            found.counted - counted);
      }
      if (counted == found.stored) return {};
      const bool leak = found.stored > counted;
      differences.missing = differences.missing || found.stored == 0;
      differences.uncovered = differences.uncovered || !stored_->covers(found.cluster);
      if (fix == Repair::all || (fix == Repair::leaks && leak)) {
        TRY(begin_repair());
        findings.line(line_of("Repairing", found, counted));
        ++(leak ? findings.report.leaks_fixed : findings.report.corruptions_fixed);
        return stored_->set(found.cluster, counted);
      }
      findings.line(line_of(leak ? "Leaked" : "ERROR", found, counted));
      ++(leak ? findings.report.leaks : findings.report.corruptions);
      return {};
    }));
    return differences;
  }

  Result<bool> compare() {
    TRY(compare_counts(findings_, Repair::none));
    return true;
  }

  /// False when the repair that was asked for cannot be done.
  Result<bool> repair_counts() {
    Findings silent({});
    const Differences differences = TRY(compare_counts(silent, Repair::none));
    if (repair_ == Repair::leaks && (stored_->broken() || differences.missing)) {
      TRY(compare_counts(findings_, Repair::none));
      findings_.unexamined("ERROR need to rebuild refcount structures");
      return false;
    }
    if (repair_ == Repair::all && (stored_->broken() || differences.uncovered)) return rebuild();
    TRY(compare_counts(findings_, repair_));
    TRY(stored_->write());
    return true;
  }

  Result<bool> rebuild() {
    TRY(compare_counts(findings_, Repair::none));
    findings_.line("Rebuilding refcount structure");
    TRY(begin_repair());
    TRY(rebuild_refcounts(storage_, header_, *use_, *stored_));
    const CheckReport before = findings_.report;
    if (!TRY(examine({}))) return corrupt("the image cannot be examined after its refcounts were rebuilt");
    // Nothing is left to mend, unless a damaged entry takes the header itself, just changed, for a table.
    Findings silent({});
    silent.report = findings_.report;
    TRY(compare_counts(silent, stored_->broken() ? Repair::none : Repair::leaks));
    TRY(stored_->write());
    CheckReport& report = findings_.report;
    report = silent.report;
    report.corruptions_fixed =
        before.corruptions_fixed + before.corruptions - std::min(before.corruptions, report.corruptions);
    report.leaks_fixed = before.leaks_fixed + before.leaks - std::min(before.leaks, report.leaks);
    return true;
  }

  Result<> check_flags() {
    const CheckReport& report = findings_.report;
    // Repairing leaks alone, a flag may be trusted to be wrong only when everything else is right.
    const bool sound = report.corruptions == 0 && report.leaks == 0 && report.check_errors == 0;
    const bool repair = repair_ == Repair::all || (repair_ == Repair::leaks && sound);
    if (repair) TRY(begin_repair());
    return check_copied_flags(*reader_, header_, *use_, *stored_, repair, findings_);
  }

  Result<> clear_bits(std::uint64_t bits) {
    if ((header_.incompatible & bits) == 0) return {};
    TRY(storage_.flush());
    header_.incompatible &= ~bits;
    TRY(write_header_field(storage_, kIncompatibleField, header_.incompatible));
    return storage_.flush();
  }

  Storage& storage_;
  Header header_;
  const Repair repair_;
  const Findings::Log log_;
  Findings findings_;
  std::optional<TableReader> reader_;
  std::optional<ClusterUse> use_;
  std::optional<StoredRefcounts> stored_;
  std::uint64_t repairable_entries_ = 0;
  bool began_ = false;
};

}  // namespace

Result<CheckReport> check(std::shared_ptr<Storage> storage, const FormatOpenOptions&, const CheckOptions& options) {
  Header header = TRY(read_header(*storage, HeaderUse::check));
  if (header.has_data_file() && header.data_file_name().empty()) {
    return fail(EINVAL, "guest data lies in an external data file, but the image does not name it");
  }
  return Checker(*storage, std::move(header), options).run();
}

Result<> repair_dirty(const std::shared_ptr<Storage>& storage, const FormatOpenOptions&) {
  CheckOptions options;
  options.repair = Repair::all;
  std::string problem;
  options.log = [&problem](std::string_view line) { problem = line; };
  Checker checker(*storage, TRY(read_header(*storage, HeaderUse::check)), options);
  const CheckReport report = TRY(checker.run());
  if (report.check_errors != 0) {
    return corrupt(concat("not closed cleanly, and its refcounts could not be repaired (", problem,
                          "); run penstock check, or open it read-only"));
  }
  log_line(LogLevel::warning,
           concat(storage->name(), ": was not closed cleanly; repaired ", report.corruptions_fixed, " refcounts and ",
                  report.leaks_fixed, " leaked clusters", report.corruptions != 0 ? ", run penstock check" : ""));
  return checker.clear_dirty();
}

Result<> give_back_leaks(const std::shared_ptr<Storage>& storage) {
  Checker checker(*storage, TRY(read_header(*storage, HeaderUse::check)), {.repair = Repair::leaks, .log = {}});
  const CheckReport report = TRY(checker.run());
  if (report.leaks_fixed == 0) return {};
  log_line(LogLevel::info, concat(printable(storage->name()), ": was not closed cleanly; freed ", report.leaks_fixed,
                                  " leaked clusters"));
  return {};
}

}  // namespace penstock::qcow2
