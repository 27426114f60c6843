// SPDX-License-Identifier: Apache-2.0
// Zeroes where the external data file alone must be the disk: they are in the file and in the map. Source:
// penstock-formats(5), "qcow2: write zeroes".
#include "format/qcow2/qcow2_driver.hpp"

namespace penstock::qcow2 {

Result<L2Entry> Driver::zeroed_over_raw_data(const L2Entry& old, const Part& part) const {
  // Without an entry it reads zero already: such a file has no backing file.
  if (cluster_kind(header_, old) == ClusterKind::unallocated) return old;
  if (subclusters_ == 1) return L2Entry{old.descriptor | kZeroFlag, 0};
  const std::uint64_t zero = ((1ULL << (part.end - part.first)) - 1) << part.first;
  return L2Entry{old.descriptor, (old.bitmap & ~zero) | (zero << 32U)};
}

/// The file first: should it not be able to, nothing has changed. A crash between the two leaves zero bytes.
Result<std::uint64_t> Driver::zero_raw_data(GuestRange units, Zeroing zeroing) {
  // Whether the entries may be changed, and how far, is found out before the file is touched.
  const std::uint64_t done = TRY(change_entries(units, [](const L2Entry& old, const Part&) { return old; }));
  const GuestRange seen = GuestRange{units.offset, done}.intersection({{0}, virtual_size_.load()});
  TRY(data_->write_zeroes({{seen.offset.value}, seen.length}, zeroing));
  return change_entries({units.offset, done}, [&](const L2Entry& old, const Part& part) {
    mutex_.assert_held_shared();
    return zeroed_over_raw_data(old, part);
  });
}

}  // namespace penstock::qcow2
