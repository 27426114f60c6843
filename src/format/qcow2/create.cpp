// SPDX-License-Identifier: Apache-2.0
#include "format/qcow2/create.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"
#include "format/qcow2/l2_entry.hpp"
#include "storage/zero_bytes.hpp"

#include <array>

namespace penstock::qcow2 {

namespace {

constexpr std::size_t kWriteBytes = 1U << 20U;  ///< tables are written in pieces of this size
constexpr std::size_t kSector = 512;            ///< what a device writes whole or not at all
static_assert(kWriteBytes % kSector == 0);

struct FeatureName {
  std::uint8_t word;  ///< 0 incompatible, 1 compatible, 2 autoclear
  std::uint8_t bit;
  std::string_view name;
};

/// QEMU's table, so that older programs can say what they miss.
constexpr std::array<FeatureName, 8> kFeatureNames{{{0, 0, "dirty bit"},
                                                    {0, 1, "corrupt bit"},
                                                    {0, 2, "external data file"},
                                                    {0, 3, "compression type"},
                                                    {0, 4, "extended L2 entries"},
                                                    {1, 0, "lazy refcounts"},
                                                    {2, 0, "bitmaps"},
                                                    {2, 1, "raw external data"}}};

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> feature_name_table() {
  std::vector<std::byte> table(kFeatureNames.size() * 48);
  for (std::size_t i = 0; i < kFeatureNames.size(); ++i) {
    const auto item = std::span(table).subspan(i * 48, 48);
    store_be(item, 0, kFeatureNames[i].word);
    store_be(item, 1, kFeatureNames[i].bit);
    std::ranges::copy(bytes_of(kFeatureNames[i].name), item.begin() + 2);
  }
  return table;
}

void add_extension(Header& header, ExtensionType type, std::vector<std::byte> data) {
  header.extensions.push_back({static_cast<std::uint32_t>(type), std::move(data)});
}

Header header_of(const CreateOptions& options) {
  Header header;
  header.version = options.version;
  header.cluster_bits = options.cluster_bits;
  header.size = options.size;
  header.refcount_order = options.refcount_order;
  header.compression_type = options.compression_type;
  header.incompatible = (options.compression_type != 0 ? std::uint64_t{kCompressionType} : 0) |
                        (options.extended_l2 ? std::uint64_t{kExtendedL2} : 0) |
                        (!options.data_file.empty() ? std::uint64_t{kDataFile} : 0);
  header.compatible = options.lazy_refcounts ? std::uint64_t{kLazyRefcounts} : 0;
  header.autoclear = options.data_file_raw ? std::uint64_t{kRawDataFile} : 0;
  header.backing_name = options.backing.name;
  if (!options.backing.format.empty()) {
    add_extension(header, ExtensionType::backing_format, bytes_of(options.backing.format));
  }
  if (!options.data_file.empty()) add_extension(header, ExtensionType::data_file, bytes_of(options.data_file));
  // As QEMU: the table would not leave small header clusters room for names.
  if (options.version >= 3 && header.cluster_size() > 4096) {
    add_extension(header, ExtensionType::feature_names, feature_name_table());
  }
  return header;
}

NewLayout layout_of(const Header& header, const CreateOptions& options) {
  NewLayout layout;
  layout.l1_entries = divide_up(header.size, header.l2_span());
  layout.l1_clusters = divide_up(layout.l1_entries * 8, header.cluster_size());
  if (options.preallocation != Preallocation::off) {
    layout.guest_clusters = divide_up(header.size, header.cluster_size());
    layout.l2_tables = layout.l1_entries;
    if (!header.has_data_file()) layout.data_clusters = layout.guest_clusters;
  }
  // Refcount structures count themselves: grow them until they cover everything.
  layout.refcount_table_clusters = 1;
  layout.refcount_blocks = 1;
  while (true) {
    const auto blocks = divide_up(layout.clusters(), header.refcounts_per_block());
    const auto table_clusters = divide_up(blocks * 8, header.cluster_size());
    if (blocks <= layout.refcount_blocks && table_clusters <= layout.refcount_table_clusters) return layout;
    layout.refcount_blocks = std::max(blocks, layout.refcount_blocks);
    layout.refcount_table_clusters = std::max(table_clusters, layout.refcount_table_clusters);
  }
}

/// Writes `bytes` bytes of big-endian words from `first` on; `word` tells each by its index.
template <typename Word>
Result<> write_words(Storage& storage, HostOffset first, std::uint64_t bytes, Word word) {
  std::vector<std::byte> buffer(std::min<std::uint64_t>(bytes, kWriteBytes));
  for (std::uint64_t done = 0; done < bytes;) {
    const auto piece = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), bytes - done));
    for (std::size_t at = 0; at < piece.size(); at += 8) store_be(piece, at, std::uint64_t{word((done + at) / 8)});
    TRY(storage.write(first + done, piece));
    done += piece.size();
  }
  return {};
}

class Writer {
 public:
  Writer(Storage& storage, Storage* data, const Header& header, const NewLayout& layout, Preallocation preallocation)
      : storage_(storage), data_(data), header_(header), layout_(layout), preallocation_(preallocation) {}

  /// The header is durable last: before it, the file is no image at all.
  Result<> write_all() {
    if (data_ != nullptr) TRY(write_data_file());
    TRY(write_refcount_table());
    TRY(write_refcount_blocks());
    TRY(write_l1());
    if (layout_.l2_tables != 0) TRY(write_l2());
    if (layout_.data_clusters != 0) TRY(make_data_room());
    const auto cluster = TRY(encode_header(header_));
    const auto header = std::span(cluster);
    // A crash may leave any of the header's sectors unwritten; the one with the magic comes when all others are there.
    TRY(storage_.write({kSector}, header.subspan(kSector)));
    TRY(storage_.flush());
    TRY(storage_.write({0}, header.first(kSector)));
    return storage_.flush();
  }

 private:
  [[nodiscard]] HostOffset at(std::uint64_t cluster) const { return {cluster << header_.cluster_bits}; }
  [[nodiscard]] std::uint64_t bytes(std::uint64_t clusters) const { return clusters << header_.cluster_bits; }

  Result<> write_refcount_table() {
    return write_words(storage_, at(1), bytes(layout_.refcount_table_clusters), [this](std::uint64_t index) {
      return index < layout_.refcount_blocks ? at(layout_.first_refcount_block() + index).value : 0;
    });
  }

  /// One word of counts: every cluster of the layout has exactly one user.
  [[nodiscard]] std::uint64_t refcount_word(std::uint64_t index) const {
    const std::uint64_t per_word = 64U / header_.refcount_bits();
    std::uint64_t word = 0;
    for (std::uint64_t i = 0; i < per_word && index * per_word + i < layout_.clusters(); ++i) {
      const std::uint64_t bit = i * header_.refcount_bits();
      // Counts narrower than a byte begin with the lowest bits of the first byte, wider ones are big-endian.
      const std::uint64_t low = header_.refcount_bits() < 8 ? bit % 8 : 0;
      const std::uint64_t last_byte = header_.refcount_bits() < 8 ? bit / 8 : (bit + header_.refcount_bits()) / 8 - 1;
      word |= 1ULL << ((7 - last_byte) * 8 + low);
    }
    return word;
  }

  Result<> write_refcount_blocks() {
    return write_words(storage_, at(layout_.first_refcount_block()), bytes(layout_.refcount_blocks),
                       [this](std::uint64_t index) { return refcount_word(index); });
  }

  Result<> write_l1() {
    if (layout_.l1_entries == 0) return {};
    const HostRange table{at(layout_.first_l1()), layout_.l1_entries * 8};
    if (layout_.l2_tables == 0) return zero_out(storage_, table, Zeroing::keep);
    return write_words(storage_, table.offset, table.length,
                       [this](std::uint64_t index) { return at(layout_.first_l2() + index).value | kCopied; });
  }

  Result<> write_l2() {
    const std::uint64_t words_per_entry = header_.l2_entry_bytes() / 8;
    return write_words(storage_, at(layout_.first_l2()), bytes(layout_.l2_tables), [&](std::uint64_t index) {
      const std::uint64_t cluster = index / words_per_entry;
      // The second word is the bitmap: no subcluster is allocated yet, so that a backing file shows through.
      if (index % words_per_entry != 0 || cluster >= layout_.guest_clusters) return std::uint64_t{0};
      return at(header_.has_data_file() ? cluster : layout_.first_data() + cluster).value | kCopied;
    });
  }

  /// `range` lies behind all that was written to `storage`, which reads as zero there.
  Result<> make_room(Storage& storage, HostRange range) {
    if (range.empty()) return {};
    if (preallocation_ == Preallocation::off || preallocation_ == Preallocation::metadata) {
      const std::uint64_t size = TRY(storage.size());
      return size < range.end().value ? storage.truncate(range.end().value) : Result<>();
    }
    if (preallocation_ == Preallocation::falloc) {
      const auto allocated = storage.allocate(range);
      if (allocated || !allocated.error().is(EOPNOTSUPP)) return allocated;
    }
    return fill_with_zero_bytes(storage, range);
  }

  Result<> make_data_room() { return make_room(storage_, {at(layout_.first_data()), bytes(layout_.data_clusters)}); }

  Result<> write_data_file() {
    TRY(make_room(*data_, {{0}, header_.size}));
    return data_->flush();
  }

  Storage& storage_;
  Storage* data_;
  const Header& header_;
  const NewLayout& layout_;
  const Preallocation preallocation_;
};

class Plan final : public CreatePlan {
 public:
  Plan(CreateOptions options, Header header, NewLayout layout)
      : options_(std::move(options)), header_(std::move(header)), layout_(layout) {}

  [[nodiscard]] std::string summary() const override { return options_.summary; }
  [[nodiscard]] std::string data_file() const override { return options_.data_file; }
  [[nodiscard]] Result<> write(std::shared_ptr<Storage> storage, std::shared_ptr<Storage> data) const override {
    return Writer(*storage, data.get(), header_, layout_, options_.preallocation).write_all();
  }

 private:
  const CreateOptions options_;
  const Header header_;
  const NewLayout layout_;
};

}  // namespace

Result<std::unique_ptr<CreatePlan>> plan_create(const CreateRequest& request) {
  CreateOptions options = TRY(read_create_options(request));
  Header header = header_of(options);
  const NewLayout layout = layout_of(header, options);
  if (layout.refcount_table_clusters << header.cluster_bits > kRefcountTableBytesMax) {
    return fail(EFBIG, "preallocation needs more refcounts than the format allows; use a larger cluster_size");
  }
  header.refcount_table_offset = {std::uint64_t{1} << header.cluster_bits};
  header.refcount_table_clusters = static_cast<std::uint32_t>(layout.refcount_table_clusters);
  header.l1_entries = static_cast<std::uint32_t>(layout.l1_entries);
  if (layout.l1_entries != 0) header.l1_offset = {layout.first_l1() << header.cluster_bits};
  TRY(encode_header(header));  // what does not fit is found before any file is touched
  return std::make_unique<Plan>(std::move(options), std::move(header), layout);
}

}  // namespace penstock::qcow2
