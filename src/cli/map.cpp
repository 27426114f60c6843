// SPDX-License-Identifier: Apache-2.0
/// penstock map: which layer answers for which part of the disk, in qemu-img's words, or as a picture.
#include "cli/command.hpp"
#include "cli/common.hpp"
#include "cli/human.hpp"
#include "cli/image_flags.hpp"
#include "cli/json_text.hpp"
#include "cli/map_svg.hpp"
#include "cli/size.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace penstock::cli {

namespace {

struct Flags {
  std::string image;
  std::string format;
  std::string output = "human";
  std::string start_offset;
  std::string max_length;
  bool force_share = false;
};

/// One line of the output.
struct Entry {
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  unsigned depth = 0;
  bool present = false;
  bool zero = false;
  bool data = false;
  const Storage* storage = nullptr;
  std::uint64_t offset = 0;  ///< where storage is set
};

Entry entry_of(const Extent& extent) {
  const bool data = extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed;
  // Packed bytes have an offset too, but not one at which a reader would find the guest's bytes.
  const bool addressed = extent.storage != nullptr && extent.kind != ExtentKind::compressed;
  return {.start = extent.guest.offset.value,
          .length = extent.guest.length,
          .depth = extent.depth,
          .present = extent.present,
          .zero = !data,
          .data = data,
          .storage = addressed ? extent.storage : nullptr,
          .offset = addressed ? extent.host_offset.value : 0};
}

bool continues(const Entry& entry, const Entry& next) {
  return entry.length != 0 && entry.depth == next.depth && entry.present == next.present && entry.zero == next.zero &&
         entry.data == next.data && entry.storage == next.storage &&
         (entry.storage == nullptr || entry.offset + entry.length == next.offset);
}

std::string entry_json(const Entry& entry) {
  const auto boolean = [](bool value) { return value ? "true" : "false"; };
  std::string out = concat("{ \"start\": ", entry.start, ", \"length\": ", entry.length, ", \"depth\": ", entry.depth,
                           ", \"present\": ", boolean(entry.present), ", \"zero\": ", boolean(entry.zero),
                           ", \"data\": ", boolean(entry.data));
  if (entry.storage != nullptr) out += concat(", \"offset\": ", entry.offset);
  return out + '}';
}

/// Nothing for what a raw reader of the named file need not see.
std::string entry_text(const Entry& entry) {
  if (!entry.data || entry.zero) return {};
  return printf_text("%-16s%-16s%-16s%s\n", alternate_hex(entry.start).c_str(), alternate_hex(entry.length).c_str(),
                     alternate_hex(entry.offset).c_str(), printable(entry.storage->name()).c_str());
}

/// Prints entries as they are complete, so that a huge map needs no memory.
class Printer {
 public:
  Printer(bool json, std::uint64_t start, std::string image_name)
      : json_(json), entry_{.start = start}, image_name_(std::move(image_name)) {
    print(json_ ? "[" : "Offset          Length          Mapped to       File\n");
  }

  [[nodiscard]] Result<> add(const Entry& next) {
    if (continues(entry_, next)) {
      entry_.length += next.length;
      return {};
    }
    if (entry_.length != 0) {
      TRY(print_entry());
      if (json_) print(",\n");
    }
    entry_ = next;
    return {};
  }

  [[nodiscard]] Result<> finish() {
    TRY(print_entry());
    if (json_) print("]\n");
    return {};
  }

 private:
  [[nodiscard]] Result<> print_entry() const {
    if (json_) {
      print(entry_json(entry_));
      return {};
    }
    if (entry_.data && entry_.storage == nullptr) {
      return unsupported(concat(image_name_,
                                ": File contains external, encrypted or compressed clusters; "
                                "say --output=json to see them"));
    }
    print(entry_text(entry_));
    return {};
  }

  bool json_;
  Entry entry_;
  std::string image_name_;
};

DiskPart part_of(const Extent& extent) {
  if (entry_of(extent).zero) return DiskPart::zero;
  return extent.depth == 0 ? DiskPart::provisioned : DiskPart::missing;
}

Result<> print_picture(Image& image, std::uint64_t start, std::uint64_t end) {
  const auto layers = TRY(image.layers());
  DiskPicture picture(start, end > start ? end - start : 0);
  for (std::uint64_t at = start; at < end;) {
    const Extent extent = TRY(image.extent({{at}, end - at}));
    picture.add(extent.guest.offset.value, extent.guest.length, part_of(extent));
    at = extent.guest.end().value;
  }
  print(picture.svg(layers.front().path, layers.front().format));
  return {};
}

Result<> print_map(Image& image, const Flags& flags, std::uint64_t start, std::optional<std::uint64_t> length) {
  std::uint64_t end = image.virtual_size();
  if (length && start < end) end = start + std::min(*length, end - start);
  if (flags.output == "svg") return print_picture(image, start, end);
  Printer printer(flags.output == "json", start, flags.image);
  while (start < end) {
    const Extent extent = TRY(image.extent({{start}, end - start}));
    TRY(printer.add(entry_of(extent)));
    start = extent.guest.end().value;
  }
  return printer.finish();
}

int run_map(const Flags& flags) {
  std::uint64_t start = 0;
  std::optional<std::uint64_t> length;
  if (!flags.start_offset.empty()) {
    const auto value = parse_size(flags.start_offset);
    if (!value) return usage_error("map", concat("--start-offset: ", value.error().message()));
    start = *value;
  }
  if (!flags.max_length.empty()) {
    const auto value = parse_size(flags.max_length);
    if (!value) return usage_error("map", concat("--max-length: ", value.error().message()));
    length = *value;
  }
  const auto image = Image::open(flags.image, reading(flags.format, flags.force_share));
  if (!image) return report(image.error());
  const auto printed = print_map(**image, flags, start, length);
  if (!printed) {
    // The lines before the error come first, as they were found.
    static_cast<void>(finish_output(kSuccess));
    return report(printed.error());
  }
  return finish_output(kSuccess);
}

}  // namespace

Command map_command() {
  auto flags = std::make_shared<Flags>();
  return {.name = "map",
          .help = "Show which file holds which part of the disk",
          .options =
              {
                  format_option(flags->format),
                  {"--output",
                   "FORMAT",
                   &flags->output,
                   "How to print: human, json, or svg (a picture)",
                   {.choices = {"human", "json", "svg"}}},
                  {"-s,--start-offset", "OFFSET", &flags->start_offset, "Begin at this guest offset"},
                  {"-l,--max-length", "LENGTH", &flags->max_length, "Show at most so many bytes of the disk"},
                  share_option(flags->force_share),
                  image_argument(flags->image),
              },
          .run = runs(run_map, flags)};
}

}  // namespace penstock::cli
