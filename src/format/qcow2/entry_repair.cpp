// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/entry_repair.hpp"

#include "base/text.hpp"
#include "format/qcow2/table_scan.hpp"

namespace penstock::qcow2 {

namespace {

std::string bare_hex(std::uint64_t value) {
  return hex(value).substr(2);
}

class CopiedFlags {
 public:
  CopiedFlags(TableReader& reader, const Header& header, const ClusterUse& use, StoredRefcounts& stored, bool repair,
              Findings& findings)
      : reader_(reader),
        header_(header),
        use_(use),
        stored_(stored),
        repair_(repair),
        findings_(findings),
        table_(header.cluster_size()) {}

  Result<> run() {
    ReferenceTally tables;
    TRY(for_each_table([&](std::uint64_t, std::uint64_t entry) -> Result<> {
      if (is_aligned(entry_offset(entry).value, header_.cluster_size())) tables.add(cluster_of(entry));
      return {};
    }));
    TRY(for_each_table([&](std::uint64_t index, std::uint64_t entry) -> Result<> {
      TRY(check_l1_entry(index, entry));
      std::uint64_t times = 1;
      if (is_aligned(entry_offset(entry).value, header_.cluster_size())) {
        times = tables.get(cluster_of(entry));
        tables.subtract(cluster_of(entry), times);
      }
      return times == 0 ? Result<>() : check_table(entry_offset(entry), times);
    }));
    return wrote_ ? reader_.storage().flush() : Result<>();
  }

 private:
  [[nodiscard]] std::uint64_t cluster_of(std::uint64_t entry) const {
    return entry_offset(entry).value >> header_.cluster_bits;
  }

  template <typename Visit>
  Result<> for_each_table(Visit visit) {
    return reader_.for_each_entry(header_.l1_offset, header_.l1_entries,
                                  [&](std::uint64_t index, std::uint64_t entry) -> Result<> {
                                    return entry_offset(entry).value == 0 ? Result<>() : visit(index, entry);
                                  });
  }

  /// A flag is set only on the strength of a count that is exact.
  [[nodiscard]] bool may_repair(std::uint64_t cluster) const {
    return repair_ && use_.references().get(cluster) <= header_.refcount_max();
  }

  void report(std::string_view what, bool repaired, std::uint64_t times) {
    findings_.line(concat(repaired ? "Repairing" : "ERROR", " OFLAG_COPIED ", what));
    if (repaired) {
      ++findings_.report.corruptions_fixed;
    } else {
      findings_.report.corruptions += times;
    }
  }

  Result<> check_l1_entry(std::uint64_t index, std::uint64_t entry) {
    const std::uint64_t refcount = TRY(stored_.get(cluster_of(entry)));
    if ((refcount == 1) == ((entry & kCopied) != 0)) return {};
    const HostOffset at = header_.l1_offset + index * 8;
    // Where the L1 table lies over something else, writing to it would change that, too.
    const bool repaired = may_repair(cluster_of(entry)) && use_.references().get(at.value >> header_.cluster_bits) == 1;
    if (repaired) {
      TRY(write_header_field(reader_.storage(), at, entry ^ kCopied));
      wrote_ = true;
    }
    report(concat("L2 cluster: l1_index=", index, " l1_entry=", bare_hex(entry), " refcount=", refcount), repaired, 1);
    return {};
  }

  Result<> check_table(HostOffset offset, std::uint64_t times) {
    const bool has_data = TRY(reader_.read(offset, table_));
    if (!has_data) return {};
    const bool writable =
        is_aligned(offset.value, header_.cluster_size()) && use_.is_only_l2(offset.value >> header_.cluster_bits);
    bool changed = false;
    for (std::uint32_t index = 0; index < header_.l2_entries(); ++index) {
      L2Entry entry = load_entry(header_, table_, index);
      if (entry.descriptor == 0 || !TRY(is_wrong(entry))) continue;
      const std::uint64_t cluster = cluster_of(entry.descriptor);
      const std::uint64_t refcount = header_.has_data_file() ? 1 : TRY(stored_.get(cluster));
      const bool repaired = writable && may_repair(cluster);
      report(concat("data cluster: l2_entry=", bare_hex(entry.descriptor), " refcount=", refcount), repaired, times);
      if (!repaired) continue;
      entry.descriptor ^= kCopied;
      store_entry(header_, table_, index, entry);
      changed = true;
    }
    if (!changed) return {};
    wrote_ = true;
    return reader_.storage().write(offset, table_);
  }

  Result<bool> is_wrong(const L2Entry& entry) {
    const auto kind = cluster_kind(header_, entry);
    if (kind != ClusterKind::normal && kind != ClusterKind::zero_allocated) return false;
    const bool copied = (entry.descriptor & kCopied) != 0;
    if (header_.has_data_file()) return !copied;
    return (TRY(stored_.get(cluster_of(entry.descriptor))) == 1) != copied;
  }

  TableReader& reader_;
  const Header& header_;
  const ClusterUse& use_;
  StoredRefcounts& stored_;
  const bool repair_;
  Findings& findings_;
  std::vector<std::byte> table_;
  bool wrote_ = false;
};

L2Entry plain_zero(const Header& header, const L2Entry& entry) {
  // Subclusters that show the backing file go on showing it.
  if (header.extended_l2()) return {0, entry.bitmap};
  return {kZeroFlag, 0};
}

}  // namespace

Result<> repair_misaligned_zeroes(TableReader& reader, const Header& header, ClusterUse& use, Findings& findings) {
  std::vector<std::byte> table(header.cluster_size());
  ReferenceTally& tables = use.l2_tables();
  tables.seal();
  for (std::uint64_t cluster = 0; (cluster = tables.next(cluster, tables.end())) < tables.end(); ++cluster) {
    const HostOffset offset{cluster << header.cluster_bits};
    const bool has_data = use.is_only_l2(cluster) && TRY(reader.read(offset, table));
    bool changed = false;
    for (std::uint32_t index = 0; has_data && index < header.l2_entries(); ++index) {
      const L2Entry entry = load_entry(header, table, index);
      if (!is_repairable(header, entry)) continue;
      findings.line(concat("Repairing offset=", bare_hex(entry_offset(entry.descriptor).value),
                           ": Preallocated cluster is not properly aligned; L2 entry corrupted."));
      store_entry(header, table, index, plain_zero(header, entry));
      changed = true;
    }
    if (changed) TRY(reader.storage().write(offset, table));
  }
  return reader.storage().flush();
}

Result<> check_copied_flags(TableReader& reader, const Header& header, const ClusterUse& use, StoredRefcounts& stored,
                            bool repair, Findings& findings) {
  return CopiedFlags(reader, header, use, stored, repair, findings).run();
}

}  // namespace penstock::qcow2
