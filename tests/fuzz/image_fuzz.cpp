// SPDX-License-Identifier: Apache-2.0
// A whole image (FUZZ_FORMAT says in which format) over a raw backing file: shown, mapped, read, checked, written,
// repaired, written again. Work is bounded, so that what takes long is a finding.
#include "image/layer.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <algorithm>
#include <vector>

namespace penstock::fuzz {
namespace {

constexpr std::uint64_t kBaseBytes = 256U << 10U;
constexpr std::byte kBaseByte{0xb5};
constexpr std::byte kDataByte{0xd4};

std::shared_ptr<MemoryStorage> filled(std::string name, std::byte byte) {
  auto storage = std::make_shared<MemoryStorage>(std::move(name));
  demand(storage->write({0}, std::vector<std::byte>(kBaseBytes, byte)).has_value(), "memory can be written");
  return storage;
}

class Subject {
 public:
  explicit Subject(std::shared_ptr<MemoryStorage> file)
      : format_(**find_format(FUZZ_FORMAT)), file_(std::move(file)), data_(filled("data", kDataByte)) {}

  void use(bool writable) {
    auto opened = open(writable);
    if (!told(opened)) return;
    Image& image = **opened;
    map(image);
    for (const GuestRange& range : places_) {
      std::vector<std::byte> bytes(range.length);
      told(image.read(range.offset, bytes));
    }
    if (writable) change(image);
    told(image.layers());
    told(image.flush());
    told(image.close());
  }

  /// What check() finds; true when nothing is wrong (any more).
  bool check(Repair repair) const {
    const auto report = format_.check(file_, options(repair != Repair::none), {.repair = repair, .log = {}});
    return told(report) && report->corruptions + report->leaks + report->check_errors == 0;
  }

  void expect_base_kept() const {
    std::vector<std::byte> bytes(kBaseBytes);
    demand(base_->read({0}, bytes).has_value(), "memory can be read");
    demand(std::ranges::all_of(bytes, [](std::byte byte) { return byte == kBaseByte; }),
           "an overlay never changes what is below it");
  }

 private:
  [[nodiscard]] FormatOpenOptions options(bool writable) const {
    FormatOpenOptions out{.writable = writable, .table_cache_bytes = 1U << 20U};
    out.open_file = [data = data_](std::string_view, bool) -> Result<std::shared_ptr<Storage>> { return data; };
    return out;
  }

  [[nodiscard]] Result<std::unique_ptr<Image>> open(bool writable) const {
    auto driver = TRY(format_.open(file_, options(writable)));
    told(driver->info());
    Layers layers;
    const bool overlay = !driver->backing().name.empty();
    layers.push_back(make_layer("top", std::move(driver)));
    if (overlay) layers.push_back(make_layer("base", TRY((*find_format("raw"))->open(base_, {}))));
    return make_image(std::move(layers), {.writable = writable, .cache_bytes = 2U << 20U});
  }

  /// Walks through the disk and notes where something is.
  void map(Image& image) {
    constexpr unsigned kExtentsMax = 300;
    constexpr std::size_t kPlacesMax = 12;
    constexpr std::uint64_t kPlaceBytes = 5000;
    places_.clear();
    GuestRange rest{{0}, image.virtual_size()};
    if (rest.length > 1) places_.push_back({{rest.length - 1}, 1});
    for (unsigned i = 0; i < kExtentsMax && !rest.empty(); ++i) {
      const auto extent = image.extent(rest);
      std::uint64_t length = std::min<std::uint64_t>(rest.length, 65536);
      if (told(extent)) length = extent->guest.length;
      demand(length > 0 && length <= rest.length, "an extent is not empty and within what was asked");
      if (places_.size() < kPlacesMax && (!extent || extent->present || i < 2)) {
        places_.push_back({rest.offset, std::min(length, kPlaceBytes)});
      }
      rest = {rest.offset + length, rest.length - length};
    }
  }

  void change(Image& image) {
    unsigned turn = 0;
    for (const GuestRange& range : places_) {
      switch (turn++ % 5) {
        case 0:
          told(image.write_zeroes(range, turn % 2 == 0 ? Zeroing::keep : Zeroing::may_unmap));
          break;
        case 1:
          told(image.discard(range));
          break;
        default:
          write(image, range);
      }
      if (turn % 4 == 0) told(image.flush());
    }
  }

  /// What one cluster was told to keep it must give back, however damaged the rest is.
  static void write(Image& image, GuestRange range) {
    const std::vector<std::byte> bytes(std::min<std::uint64_t>(range.length, 512), std::byte{0x3c});
    if (!told(image.write(range.offset, bytes))) return;
    std::vector<std::byte> found(bytes.size());
    const auto cluster = image.geometry().cluster_size;
    if (range.offset.value / cluster != (range.offset.value + bytes.size() - 1) / cluster) return;
    if (told(image.read(range.offset, found))) demand(found == bytes, "what was written is read");
  }

  const Format& format_;
  const std::shared_ptr<MemoryStorage> file_;
  const std::shared_ptr<MemoryStorage> data_;
  const std::shared_ptr<MemoryStorage> base_ = filled("base", kBaseByte);
  std::vector<GuestRange> places_;
};

}  // namespace
}  // namespace penstock::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock;
  fuzz::Input input(data, size);
  const auto file = fuzz::unpack_file(input);
  fuzz::Subject subject(file);
  subject.use(false);
  subject.check(Repair::none);
  fuzz::Subject repaired(file->copy("image"));
  subject.use(true);
  subject.expect_base_kept();
  if (repaired.check(Repair::all)) fuzz::demand(repaired.check(Repair::none), "what was repaired stays so");
  repaired.use(true);
  return 0;
}
