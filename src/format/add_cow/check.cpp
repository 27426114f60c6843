// SPDX-License-Identifier: Apache-2.0
// The bitmap is always safe to trust, so nothing is ever lost; what can be wrong is said in the
// format page, "add-cow: check".
#include "base/endian.hpp"
#include "base/text.hpp"
#include "base/work_report.hpp"
#include "format/add_cow/format.hpp"
#include "format/add_cow/header.hpp"

#include <bit>

namespace penstock::add_cow {

namespace {

class Checker {
 public:
  Checker(Storage& storage, Storage& data, Header header, std::uint64_t virtual_size, const CheckOptions& options)
      : storage_(storage),
        data_(data),
        header_(std::move(header)),
        virtual_size_(virtual_size),
        clusters_(header_.clusters(virtual_size)),
        bitmap_end_(header_.bitmap_offset() + header_.bitmap_bytes(virtual_size)),
        options_(options) {}

  Result<CheckReport> run() {
    report_.total_clusters = clusters_;
    report_.image_end_offset = bitmap_end_;
    TRY(check_length());
    TRY(check_bits());
    TRY(check_names());
    TRY(check_flag());
    if (options_.repair != Repair::none) TRY(storage_.flush());
    return report_;
  }

 private:
  [[nodiscard]] bool repairs() const { return options_.repair == Repair::all; }

  void found(const std::string& what) {
    if (options_.log) options_.log((repairs() ? "Repairing " : "ERROR ") + what);
    ++(repairs() ? report_.corruptions_fixed : report_.corruptions);
  }

  Result<> check_length() {
    const std::uint64_t length = TRY(storage_.size());
    if (length >= header_.bitmap_offset() + divide_up(clusters_, 8)) return {};
    found(concat("bitmap is cut short: ", length, " bytes, ", bitmap_end_, " are needed"));
    // A missing bit means that the backing file answers, which is what it says when it is 0.
    if (repairs()) TRY(storage_.truncate(bitmap_end_));
    return {};
  }

  Result<> check_bits() {
    std::vector<std::byte> chunk(1U << 20U);
    constexpr std::size_t kWordBytes = 8;  // whole clusters are whole words
    bool stray = false;
    std::uint64_t next = 0;
    std::uint64_t data_end = 0;  // no hole before it
    for (std::uint64_t at = header_.bitmap_offset(); at < bitmap_end_; at = next) {
      const auto part = std::span(chunk).first(std::min<std::uint64_t>(chunk.size(), bitmap_end_ - at));
      next = at + part.size();
      tell_work(at - header_.bitmap_offset(), bitmap_end_ - header_.bitmap_offset());
      // The bitmap of a large disk that nobody wrote to is one hole. Asked once for a run: it may be long to look at.
      if (at >= data_end) {
        const HostExtent extent = TRY(storage_.extent({at}));
        if (!extent.data && extent.length == 0) break;
        if (!extent.data && extent.length >= kWordBytes) {
          next = at + align_down(extent.length, kWordBytes);
          continue;
        }
        data_end = at + extent.length;
      }
      TRY(storage_.read({at}, part));
      for (std::size_t at_word = 0; at_word < part.size(); at_word += kWordBytes) {
        const auto bits = load_le<std::uint64_t>(std::span<const std::byte>(part), at_word);
        if (bits == 0) continue;
        const std::uint64_t first = (at - header_.bitmap_offset() + at_word) * 8;
        const std::uint64_t inside = first >= clusters_ ? 0 : clusters_ - first;
        const std::uint64_t mask = inside >= 64 ? ~0ULL : (1ULL << inside) - 1;
        report_.allocated_clusters += static_cast<std::uint64_t>(std::popcount(bits & mask));
        if ((bits & ~mask) == 0) continue;
        stray = true;
        if (options_.repair == Repair::none) continue;
        const auto word = part.subspan(at_word, kWordBytes);
        store_le(word, 0, bits & mask);
        TRY(storage_.write({at + at_word}, word));
      }
    }
    if (!stray) return {};
    // What a resize that was cut short leaves: harmless, as nobody reads these bits before they are set anew.
    const bool cleared = options_.repair != Repair::none;
    if (options_.log)
      options_.log(cleared ? "Repairing bits behind the end of the disk" : "Leaked bits behind the end of the disk");
    ++(cleared ? report_.leaks_fixed : report_.leaks);
    return {};
  }

  Result<> check_names() {
    if (header_.stray_bytes.empty()) return {};
    // What a change of the backing file that was cut short leaves: harmless, as nobody reads these bytes.
    const bool cleared = options_.repair != Repair::none;
    if (options_.log) options_.log(concat(cleared ? "Repairing" : "Leaked", " bytes between the names in the header"));
    ++(cleared ? report_.leaks_fixed : report_.leaks);
    if (!cleared) return {};
    // In their place, so that the names are never on their way.
    for (const HostRange& stray : header_.stray_bytes) {
      TRY(storage_.write(stray.offset, std::vector<std::byte>(stray.length)));
    }
    return {};
  }

  Result<> check_flag() {
    const bool all = report_.allocated_clusters == clusters_;
    if (!header_.all_allocated()) return all && repairs() && clusters_ != 0 ? complete() : Result<>();
    if (all) return {};
    found(concat("marked as complete, but only ", report_.allocated_clusters, " of ", clusters_, " bits are set"));
    if (!repairs()) return {};
    TRY(set_all_bits(storage_, header_, virtual_size_));
    report_.allocated_clusters = clusters_;
    return {};
  }

  /// Every cluster is in the raw file: nothing is wrong, but from now on it can be used alone.
  Result<> complete() {
    if (options_.log) options_.log("Marking the image as complete: every cluster is in the image file");
    TRY(data_.flush());
    TRY(storage_.flush());
    return write_compatible(storage_, header_.compatible | kAllAllocated);
  }

  Storage& storage_;
  Storage& data_;
  const Header header_;
  const std::uint64_t virtual_size_;
  const std::uint64_t clusters_;
  const std::uint64_t bitmap_end_;
  const CheckOptions& options_;
  CheckReport report_;
};

}  // namespace

Result<CheckReport> check(std::shared_ptr<Storage> storage, const FormatOpenOptions& open,
                          const CheckOptions& options) {
  auto header = TRY(read_header(*storage));
  if (!open.open_file) return fail(EACCES, "the size of the disk is that of its image file, which was not allowed");
  const auto data = open.open_file(header.image_name, options.repair == Repair::all);
  if (!data) return Failure(data.error().in(concat("image file '", printable(header.image_name), "'")));
  const std::uint64_t size = TRY((*data)->size());
  TRY(header.check_size(size));
  return Checker(*storage, **data, std::move(header), size, options).run();
}

}  // namespace penstock::add_cow
