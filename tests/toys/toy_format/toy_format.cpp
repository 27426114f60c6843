// SPDX-License-Identifier: Apache-2.0
#include "tests/toys/toy_format/toy_format.hpp"

#include "base/endian.hpp"
#include "base/text.hpp"

#include <cstring>

namespace penstock::toys {

namespace {

constexpr std::string_view kMagic = "TOYDISK1";
constexpr std::size_t kFixedBytes = 32;
constexpr std::uint64_t kHeaderBytes = 4096;
constexpr std::uint64_t kSizeMax = 1ULL << 40U;
constexpr std::uint64_t kClustersMax = 1ULL << 20U;

enum class Kind : std::uint8_t { unallocated, zero, data, second_file };

struct Header {
  std::uint64_t size = 0;
  std::uint32_t cluster_size = 0;
  std::string second_file;
  std::string backing;
};

bool probe(std::span<const std::byte> head) {
  return head.size() >= kMagic.size() && std::memcmp(head.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<Header> read_header(Storage& storage) {
  std::vector<std::byte> bytes(kHeaderBytes);
  TRY(storage.read({0}, bytes));
  const std::span<const std::byte> head(bytes);
  if (!probe(head)) return corrupt("not a toy image");
  const auto cluster_bits = load_le<std::uint32_t>(head, 16);
  const auto second_bytes = load_le<std::uint32_t>(head, 20);
  const auto backing_bytes = load_le<std::uint32_t>(head, 24);
  Header header{.size = load_le<std::uint64_t>(head, 8)};
  if (cluster_bits < 9 || cluster_bits > 21) return corrupt(concat("cluster bits ", cluster_bits));
  header.cluster_size = 1U << cluster_bits;
  if (header.size % 512 != 0 || header.size > kSizeMax || divide_up(header.size, header.cluster_size) > kClustersMax) {
    return corrupt(concat("size of the disk ", header.size));
  }
  if (std::uint64_t{second_bytes} + backing_bytes > kHeaderBytes - kFixedBytes) return corrupt("names too long");
  const std::string names(reinterpret_cast<const char*>(bytes.data()) + kFixedBytes, second_bytes + backing_bytes);
  header.second_file = names.substr(0, second_bytes);
  header.backing = names.substr(second_bytes);
  return header;
}

class ToyDriver final : public FormatDriver {
 public:
  ToyDriver(std::shared_ptr<Storage> file, std::shared_ptr<Storage> second, Header header,
            std::vector<std::uint64_t> table)
      : file_(std::move(file)), second_(std::move(second)), header_(std::move(header)), table_(std::move(table)) {}

  [[nodiscard]] std::string_view format() const noexcept override { return "toy"; }
  [[nodiscard]] std::uint64_t virtual_size() const noexcept override { return header_.size; }
  [[nodiscard]] Geometry geometry() const noexcept override { return {header_.cluster_size, header_.cluster_size}; }
  [[nodiscard]] Capabilities capabilities() const noexcept override { return {.backing = true}; }
  [[nodiscard]] BackingReference backing() const override {
    return {.name = header_.backing, .format = backing_format()};
  }
  [[nodiscard]] Result<FormatInfo> info() override { return FormatInfo{.cluster_size = header_.cluster_size}; }
  [[nodiscard]] Storage& storage() noexcept override { return *file_; }
  [[nodiscard]] std::vector<Storage*> files() override {
    if (!second_) return {file_.get()};
    return {file_.get(), second_.get()};
  }

  [[nodiscard]] Result<Mapping> map(GuestRange want) override {
    Mapping run = TRY(map_cluster(want));
    while (run.length < want.length) {
      const auto next = map_cluster({want.offset + run.length, want.length - run.length});
      // What is sound before a damaged place is told first.
      if (!next || next->kind != run.kind || next->storage != run.storage) break;
      if (run.kind == MappingKind::data && run.host_offset + run.length != next->host_offset) break;
      run.length += next->length;
    }
    return run;
  }

 private:
  [[nodiscard]] std::string backing_format() const { return header_.backing.empty() ? "" : "raw"; }

  [[nodiscard]] Result<Mapping> map_cluster(GuestRange want) {
    const auto index = want.offset.value / header_.cluster_size;
    const auto inside = want.offset.value % header_.cluster_size;
    Mapping mapping{.length = std::min(want.length, header_.cluster_size - inside)};
    const auto entry = index < table_.size() ? table_[index] : 0;
    const auto kind = static_cast<Kind>(entry & 3U);
    if (kind == Kind::unallocated) return mapping;
    mapping.kind = kind == Kind::zero ? MappingKind::zero : MappingKind::data;
    if (kind == Kind::zero) return mapping;
    Storage* const file = kind == Kind::data ? file_.get() : second_.get();
    const auto offset = entry & ~3ULL;
    if (file == nullptr) return corrupt(concat("cluster ", index, " lies in a second file, which is not named"));
    if (offset % 512 != 0 || !fits(offset, header_.cluster_size, TRY(file->size()))) {
      return corrupt(concat("cluster ", index, " lies at ", hex(offset), ", behind the end of its file"));
    }
    mapping.storage = file;
    mapping.host_offset = {offset + inside};
    return mapping;
  }

  const std::shared_ptr<Storage> file_;
  const std::shared_ptr<Storage> second_;
  const Header header_;
  const std::vector<std::uint64_t> table_;
};

Result<std::unique_ptr<FormatDriver>> open(std::shared_ptr<Storage> storage, const FormatOpenOptions& options) {
  auto header = TRY(read_header(*storage));
  const auto clusters = divide_up(header.size, header.cluster_size);
  if (!fits(kHeaderBytes, clusters * 8, TRY(storage->size()))) return corrupt("the table is cut short");
  std::vector<std::byte> bytes(clusters * 8);
  TRY(storage->read({kHeaderBytes}, bytes));
  std::vector<std::uint64_t> table(clusters);
  for (std::size_t i = 0; i < clusters; ++i)
    table[i] = load_le<std::uint64_t>(std::span<const std::byte>(bytes), i * 8);
  std::shared_ptr<Storage> second;
  if (!header.second_file.empty()) {
    if (!options.open_file) return fail(EACCES, "its second file was not allowed");
    second = TRY(options.open_file(header.second_file, false));
  }
  return std::make_unique<ToyDriver>(std::move(storage), std::move(second), std::move(header), std::move(table));
}

}  // namespace

const Format kToyFormat{.name = "toy", .probe = probe, .open = open, .read_only = true};

}  // namespace penstock::toys
